"""`adapterctl check-config`: everything that is wrong at once, and what `serve` would do."""

import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from typer.testing import CliRunner, Result

from models_registry.storage.database import newest_schema
from service import cli
from service.config_file import config_path

pytestmark = pytest.mark.usefixtures("quiet_cli")


@pytest.fixture
def stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADAPTER_SERVICE_DATABASE_URL", f"sqlite:///{tmp_path}/var/registry.db")
    monkeypatch.setenv("ADAPTER_SERVICE_BLOB_URL", f"file:{tmp_path}/var/blobs")
    return tmp_path / "var"


def check(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["check-config", "--port", "0", *arguments])


def configure(text: str) -> None:
    config_path().parent.mkdir(parents=True, exist_ok=True)
    config_path().write_text(text, encoding="utf-8")


def test_what_would_be_made_is_said_and_not_made(stores: Path) -> None:
    done = check()
    assert done.exit_code == 0, done.output
    assert f"registry.db isn't there and would be made, with schema {newest_schema()}" in done.output
    assert "blobs isn't there and would be made" in done.output
    assert done.output.splitlines()[-1] == "serve would start."
    assert not stores.exists()


def test_stores_that_are_there_are_reached(stores: Path) -> None:
    CliRunner().invoke(cli.app, ["migrate"])
    (stores / "blobs").mkdir()
    done = check()
    assert f"database: is at schema {newest_schema()}" in done.output
    assert "blobs: can be read and written" in done.output


def test_all_that_keeps_the_service_from_starting_is_said(stores: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        database = "postgresql://me:s3cret@127.0.0.1:1/registry"
        done = check("--database-url", database, "--blob-url", f"file:{tmp_path}/file", "--port", port)
    assert done.exit_code == 1
    assert "database: The database is away" in done.output
    assert "blobs: Can't reach the blob store" in done.output
    assert f"port: Port {port} of 127.0.0.1 is taken" in done.output
    assert done.output.splitlines()[-1] == "serve would not start."
    assert "s3cret" not in done.output


class Answering(BaseHTTPRequestHandler):
    """As a service that runs does."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        answers = {"/health/live": b'{"status": "live"}', "/version": b'{"version": "9.8.7"}'}
        self.wfile.write(answers[self.path])

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """The test's own output stays its own."""


def test_a_port_of_a_service_that_runs_is_said_to_be_its(stores: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        Thread(target=server.serve_forever).start()
        done = check("--port", str(server.server_port))
        server.shutdown()
    assert "has an Adapter Service 9.8.7, which has to end before this one starts" in done.output
    assert done.exit_code == 0, done.output


def test_a_database_of_another_schema_needs_a_migration(stores: Path, database_url: str) -> None:
    assert check("--database-url", database_url).exit_code == 0


def test_a_postgres_that_nobody_migrated_is_said(stores: Path, empty_database_url: str) -> None:
    done = check("--database-url", empty_database_url)
    if empty_database_url.startswith("sqlite"):
        assert done.exit_code == 0
    else:
        assert done.exit_code == 1
        assert "adapterctl migrate" in done.output
        assert check("--database-url", empty_database_url, "--migrate").exit_code == 0


def test_the_file_is_read_after_flags_and_environment(stores: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure('url = "http://elsewhere"\n\n[service]\nmax-queue = 7\nmax_batch_rows = 8\nmodel_roots = ["a", "b"]\n')
    monkeypatch.setenv("ADAPTER_SERVICE_MAX_BATCH_ROWS", "9")
    done = check("--max-request-rows", "10")
    assert done.exit_code == 0, done.output
    assert "max_batch_rows 9, max_request_rows 10, max_queue 7" in done.output
    assert "model roots a, b" in done.output


def test_what_is_wrong_in_the_file_is_named_with_the_file(stores: Path) -> None:
    configure('[service]\nport = "much"\nmax_queue = 0\n')
    done = CliRunner().invoke(cli.app, ["check-config"])
    assert done.exit_code == 2
    assert f"{config_path()}: port" in done.output
    assert f"{config_path()}: max_queue" in done.output
    configure("[service]\nprot = 1\n")
    assert "there is no setting prot" in check().output
    configure("[service\n")
    assert "can't be read as TOML" in check().output
