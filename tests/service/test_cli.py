"""adapterctl: what it prints, where it stops, and that a flag goes before the environment."""

import json
import subprocess
import sys
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from typer.testing import CliRunner

from models_registry.storage.database import newest_schema, open_database
from models_registry.storage.serving_lock import serving_lock
from service import cli, command_settings, server
from service.settings import Settings

pytestmark = pytest.mark.usefixtures("quiet_cli")
SECRETS = {"admin_key", "metrics_token", "console_secret", "oidc_client_secret"}


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """With what `serve` would have started a server."""
    seen: list[Settings] = []
    monkeypatch.setenv("ADAPTER_SERVICE_DATABASE_URL", f"sqlite:///{tmp_path}/registry.db")

    def run(served: FastAPI, _drain: Any, _sockets: Any, _delay_s: float) -> None:
        seen.append(served.state.settings)

    monkeypatch.setattr(server, "run_server", run)
    monkeypatch.setattr(cli, "bound_sockets", lambda *_: nullcontext([]))
    return seen


def test_every_setting_is_a_flag_of_serve() -> None:
    flags = CliRunner().invoke(cli.app, ["serve", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output
    for setting in Settings.model_fields:
        # Others on the machine see what is in flags.
        assert (f"--{setting.replace('_', '-')}" in flags) == (setting not in SECRETS), setting


def test_a_flag_overrides_the_environment(served: list[Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPTER_SERVICE_PORT", "1")
    monkeypatch.setenv("ADAPTER_SERVICE_MAX_QUEUE", "2")
    result = CliRunner().invoke(cli.app, ["serve", "--port", "3", "--factories", "bases:mlp,bases:dummy", "--migrate"])
    assert result.exit_code == 0, result.output
    (settings,) = served
    assert (settings.port, settings.max_queue, settings.migrate) == (3, 2, True)
    assert settings.factories == ("bases:mlp", "bases:dummy")


def test_every_wrong_setting_is_named_and_nothing_starts(served: list[Settings]) -> None:
    result = CliRunner().invoke(cli.app, ["serve", "--device", "gpu", "--max-upload-bytes", "much"])
    assert result.exit_code == 2
    assert "ADAPTER_SERVICE_DEVICE: 'gpu' is not" in result.output
    assert "ADAPTER_SERVICE_MAX_UPLOAD_BYTES" in result.output
    assert not served


def test_a_flag_says_what_its_setting_says_without_markdown() -> None:
    flags = CliRunner().invoke(cli.app, ["serve", "--help"], env={"COLUMNS": "250", "NO_COLOR": "1"}).output
    assert "A process for each base model; in_process: all models" in flags
    assert "Names of variables, split at ',', that models'" in flags
    assert "`" not in flags


def test_settings_page_writes_the_table_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "settings.md"
    page.write_text("# Ours\n\n| variable | default | |\n| --- | --- | --- |\n| `ADAPTER_SERVICE_OLD` | | |\n\nEnd.\n")
    result = CliRunner().invoke(cli.app, ["settings-page", str(page)])
    assert result.exit_code == 0, result.output
    lines = page.read_text().splitlines()
    assert lines[4] == "| `ADAPTER_SERVICE_HOST` | `127.0.0.1` | Address to listen on. |"
    assert len(lines) == 4 + len(Settings.model_fields) + 2
    assert lines[-1] == "End."


@pytest.mark.parametrize("command", ["serve", "migrate", "fsck", "gc", "check-config", "openapi"])
def test_every_command_refuses_a_misspelt_setting(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPTER_SERVICE_DATABSE_URL", "sqlite:///elsewhere")
    result = CliRunner().invoke(cli.app, [command])
    assert result.exit_code == 2
    assert "ADAPTER_SERVICE_DATABSE_URL: there is no such setting; did you mean" in result.output


def test_what_kubernetes_sets_is_ignored_in_one_line(
    served: list[Settings], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ADAPTER_SERVICE_PORT", "tcp://10.0.0.1:80")
    monkeypatch.setenv("ADAPTER_SERVICE_SERVICE_HOST", "10.0.0.1")
    caplog.set_level("INFO", command_settings.__name__)
    result = CliRunner().invoke(cli.app, ["serve"])
    assert result.exit_code == 0, result.output
    (line,) = [line for line in caplog.messages if "Kubernetes" in line]
    assert "ADAPTER_SERVICE_PORT, ADAPTER_SERVICE_SERVICE_HOST" in line
    assert served[0].port == 8000


def test_the_version_is_printed() -> None:
    assert CliRunner().invoke(cli.app, ["--version"]).output.strip() == version("adapter-service")
    told = CliRunner().invoke(cli.app, ["version"]).output.strip()
    assert told == f"adapter-service {version('adapter-service')}, schema {newest_schema()}"


def test_the_first_line_of_the_log_waits_for_no_large_import() -> None:
    code = (
        "import service.cli, sys; print(sorted({'torch', 'transformers', 'sqlalchemy', 'fastapi'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"


def test_serve_says_first_what_it_works_on(served: list[Settings], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", cli.__name__)
    url = "postgresql://me:s3cret@host/registry"
    result = CliRunner().invoke(cli.app, ["serve", "--database-url", url, "--model-roots", "/a:/b", "--port", "1"])
    assert result.exit_code == 0, result.output
    said = "\n".join(caplog.messages)
    assert f"Adapter Service {version('adapter-service')}, for http://127.0.0.1:1" in said
    assert "database postgresql://me:***@host/registry, blobs file:var/blobs" in said
    assert "model roots /a, /b; factories none; device auto" in said
    assert all(name in said for name in Settings.model_fields if name.startswith("max_"))


def test_a_second_process_on_one_sqlite_file_is_refused(
    served: list[Settings], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"sqlite:///{tmp_path}/registry.db"
    with serving_lock(url):
        assert CliRunner().invoke(cli.app, ["serve"]).exit_code == 2
        assert CliRunner().invoke(cli.app, ["migrate"]).exit_code == 0
        assert CliRunner().invoke(cli.app, ["gc", "--blob-url", f"file:{tmp_path}/blobs"]).exit_code == 0
    assert not served
    assert "serves from the database" in caplog.messages[-1]
    assert CliRunner().invoke(cli.app, ["serve"]).exit_code == 0


def test_migrate_makes_a_database_that_can_be_opened(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/registry.db"
    result = CliRunner().invoke(cli.app, ["migrate", "--database-url", url])
    assert result.exit_code == 0, result.output
    open_database(url).close()


def test_migrate_says_why_it_can_not(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = CliRunner().invoke(cli.app, ["migrate", "--database-url", f"sqlite:///{tmp_path}/file/registry.db"])
    assert result.exit_code == 2
    assert "file" in result.output


def test_openapi_prints_the_document_or_writes_it(tmp_path: Path) -> None:
    printed = CliRunner().invoke(cli.app, ["openapi"])
    CliRunner().invoke(cli.app, ["openapi", str(tmp_path / "openapi.json")])
    assert (tmp_path / "openapi.json").read_text(encoding="utf-8") == printed.output
    assert json.loads(printed.output)["info"]["title"] == "Adapter Service"
