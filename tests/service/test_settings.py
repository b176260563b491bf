"""The settings: the contract's names and defaults, and words for what is wrong."""

import os
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from models_registry.errors import Invalid
from service.environment import injected_by_kubernetes
from service.settings import Settings, read_settings
from service.settings_table import with_table

PAGE = Path(__file__).parents[2] / "docs" / "operations" / "settings.md"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith("ADAPTER_SERVICE_"):
            monkeypatch.delenv(name)


def test_the_defaults_are_the_contracts() -> None:
    contract = {
        "host": "127.0.0.1",
        "port": 8000,
        "database_url": "sqlite:///var/registry.db",
        "migrate": False,
        "blob_url": "file:var/blobs",
        "s3_endpoint": None,
        "model_roots": (Path("var/models"),),
        "factories": (),
        "transport": "local_process",
        "load_timeout": 1800.0,
        "ready_grace": 60.0,
        "forward_timeout": 600.0,
        "parallel_loads": 4,
        "scale_up_after": 10.0,
        "scale_down_after": 300.0,
        "host_memory": None,
        "host_environment": (),
        "device": "auto",
        "max_upload_bytes": 1 << 30,
        "max_json_bytes": 16 << 20,
        "max_resident_bytes": None,
        "max_merged_bytes": None,
        "max_cache_bytes": None,
        "max_batch_rows": 64,
        "max_request_rows": 4096,
        "max_queue": 1024,
        "admin_key": None,
        "allow_anonymous": None,
        "oidc_issuer": None,
        "oidc_audience": None,
        "oidc_team_claim": "team",
        "oidc_role_claim": "role",
        "oidc_client_id": None,
        "oidc_client_secret": None,
        "oidc_scopes": ("openid",),
        "oidc_algorithms": ("RS256", "ES256"),
        "metrics_token": None,
        "console_secret": None,
        "usage_retention": 400,
        "lora_root": None,
        "log_format": "text",
        "log_level": "info",
        "drain_delay": 0.0,
        "root_path": "",
    }
    settings = Settings().model_dump()
    assert {name: settings[name] for name in contract} == contract


def test_the_page_of_settings_is_what_make_settings_writes() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_table(page) == page, "run `make settings`"


def test_every_default_of_the_page_is_read_as_the_default() -> None:
    defaults = Settings()
    for name, written in re.findall(
        r"^\| `ADAPTER_SERVICE_([A-Z0-9_]+)` \| `(.*?)` \|", PAGE.read_text(), re.MULTILINE
    ):
        assert getattr(read_settings(**{name.lower(): written}), name.lower()) == getattr(defaults, name.lower()), name


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not (field.description or "").endswith(".")] == []


def test_a_page_without_a_table_is_left_as_it_is() -> None:
    with pytest.raises(ValueError, match="no table that begins"):
        with_table("# Settings\n")


def test_lists_are_split_as_the_contract_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPTER_SERVICE_MODEL_ROOTS", "/a:/b/c")
    monkeypatch.setenv("ADAPTER_SERVICE_FACTORIES", "bases:seed,package.module:*,bases:Net.small")
    settings = Settings()
    assert settings.model_roots == (Path("/a"), Path("/b/c"))
    assert settings.factories == ("bases:seed", "package.module:*", "bases:Net.small")


def test_a_secret_may_lie_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("a-key-of-my-own-choice\n")
    monkeypatch.setenv("ADAPTER_SERVICE_ADMIN_KEY_FILE", str(file))
    settings = read_settings()
    assert settings.admin_key is not None
    assert settings.admin_key.get_secret_value() == "a-key-of-my-own-choice"
    assert "a-key-of-my-own-choice" not in repr(settings)


def test_a_secret_is_given_once_and_can_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADAPTER_SERVICE_ADMIN_KEY_FILE", str(tmp_path / "nothing"))
    with pytest.raises(Invalid, match="can't be read"):
        read_settings()
    monkeypatch.setenv("ADAPTER_SERVICE_ADMIN_KEY", "a-key-of-my-own-choice")
    with pytest.raises(Invalid, match="both set"):
        read_settings()


def test_a_size_is_bytes_or_written_with_a_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPTER_SERVICE_MAX_UPLOAD_BYTES", "1000")
    monkeypatch.setenv("ADAPTER_SERVICE_MAX_RESIDENT_BYTES", "512MiB")
    settings = Settings()
    assert settings.max_upload_bytes == 1000
    assert settings.max_resident_bytes == 512 << 20


def test_sqlite_is_always_migrated_and_postgres_only_when_asked() -> None:
    assert Settings().migrates_at_start
    assert not Settings(database_url="postgresql://host/name").migrates_at_start
    assert Settings(database_url="postgresql://host/name", migrate=True).migrates_at_start


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("factories", "bases", "'bases' is not `package.module:callable`"),
        ("factories", "bases:seed,os.system:", "'os.system:'"),
        ("device", "gpu", "'gpu' is not `auto`"),
        ("database_url", "mysql://host/name", "postgresql://"),
        ("blob_url", "ftp://host", "s3://bucket/prefix"),
        ("s3_endpoint", "localhost:9000", "https://host"),
        ("port", "70000", "65535"),
        ("max_upload_bytes", "much", "byte"),
        ("max_queue", "0", "greater than 0"),
        ("log_format", "xml", "'text' or 'json'"),
        ("drain_delay", "-1", "greater than or equal to 0"),
        ("root_path", "adapters", "a path such as `/adapters`"),
        ("root_path", "/adapters/", "without a slash at its end"),
    ],
)
def test_a_bad_value_is_named_with_what_it_must_be(
    monkeypatch: pytest.MonkeyPatch, setting: str, value: str, words: str
) -> None:
    monkeypatch.setenv(f"ADAPTER_SERVICE_{setting.upper()}", value)
    with pytest.raises(ValidationError) as caught:
        Settings()
    (error,) = caught.value.errors()
    assert error["loc"][0] == setting
    assert words in error["msg"]


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # pyright: ignore[reportAttributeAccessIssue] - that it fails is the point


# ---- which variables there are ----------------------------------------------------------------------------------


def complaints() -> dict[str | int, str]:
    with pytest.raises(Invalid) as caught:
        read_settings()
    return {fault.loc[0]: fault.message for fault in caught.value.faults}


def test_every_unknown_variable_is_refused_with_what_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPTER_SERVICE_MAX_QUEU", "5")
    monkeypatch.setenv("ADAPTER_SERVICE_XYZZY", "5")
    monkeypatch.setenv("ADAPTER_SERVICE_MAX_QUEUE", "many")
    found = complaints()
    assert found.keys() == {f"ADAPTER_SERVICE_{name}" for name in ("MAX_QUEU", "XYZZY", "MAX_QUEUE")}
    assert found["ADAPTER_SERVICE_MAX_QUEU"].endswith("did you mean ADAPTER_SERVICE_MAX_QUEUE?")
    assert found["ADAPTER_SERVICE_XYZZY"] == "there is no such setting; docs/operations/settings.md lists them all."


KUBERNETES = {
    "ADAPTER_SERVICE_SERVICE_HOST": "10.0.0.1",
    "ADAPTER_SERVICE_SERVICE_PORT": "80",
    "ADAPTER_SERVICE_SERVICE_PORT_HTTP": "80",
    "ADAPTER_SERVICE_PORT": "tcp://10.0.0.1:80",
    "ADAPTER_SERVICE_PORT_80_TCP": "tcp://10.0.0.1:80",
    "ADAPTER_SERVICE_PORT_80_TCP_PROTO": "tcp",
    "ADAPTER_SERVICE_PORT_80_TCP_PORT": "80",
    "ADAPTER_SERVICE_PORT_80_TCP_ADDR": "10.0.0.1",
}


def test_what_kubernetes_sets_for_a_service_of_this_name_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KUBERNETES.items():
        monkeypatch.setenv(name, value)
    assert read_settings() == Settings()
    assert injected_by_kubernetes(os.environ) == tuple(sorted(KUBERNETES))
    assert read_settings(port=1).port == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http://10.0.0.1:80"),
        ("PORT_TCP", "80"),
        ("PORT_80", "80"),
        ("SERVICE_HOSTS", "10.0.0.1"),
        ("SERVICE_PORTAL", "80"),
        ("DB_SERVICE_HOST", "10.0.0.1"),
    ],
)
def test_what_only_looks_like_kubernetes_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"ADAPTER_SERVICE_{name}", value)
    assert list(complaints()) == [f"ADAPTER_SERVICE_{name}"]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("database_url", "postgres://me:s3cret@host/registry"),
        ("blob_url", "https://me:s3cret@bucket"),
        ("s3_endpoint", "me:s3cret@host"),
        ("databse_url", "postgresql://me:s3cret@host/registry"),
    ],
)
def test_a_wrong_setting_does_not_show_its_password(monkeypatch: pytest.MonkeyPatch, setting: str, value: str) -> None:
    monkeypatch.setenv(f"ADAPTER_SERVICE_{setting.upper()}", value)
    assert "s3cret" not in str(complaints())
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "issuer", ["http://example.org", "ftp://example.org", "https://", "https://a?b", "http://127.0.0.1.evil.org"]
)
def test_an_issuer_is_asked_over_https_or_on_this_machine(monkeypatch: pytest.MonkeyPatch, issuer: str) -> None:
    monkeypatch.setenv("ADAPTER_SERVICE_OIDC_AUDIENCE", "adapters")
    monkeypatch.setenv("ADAPTER_SERVICE_OIDC_ISSUER", issuer)
    with pytest.raises(Invalid, match="ADAPTER_SERVICE_OIDC_ISSUER"):
        read_settings()


def test_an_issuer_needs_an_audience_and_signatures_that_only_it_can_make(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPTER_SERVICE_OIDC_ISSUER", "https://login.example.org/realm")
    with pytest.raises(Invalid, match="ADAPTER_SERVICE_OIDC_AUDIENCE must say"):
        read_settings()
    monkeypatch.setenv("ADAPTER_SERVICE_OIDC_AUDIENCE", "adapters")
    assert read_settings().oidc_algorithms == ("RS256", "ES256")
    monkeypatch.delenv("ADAPTER_SERVICE_OIDC_ISSUER")
    monkeypatch.setenv("ADAPTER_SERVICE_OIDC_CLIENT_ID", "console")
    with pytest.raises(Invalid, match="ADAPTER_SERVICE_OIDC_CLIENT_ID needs"):
        read_settings()
    monkeypatch.setenv("ADAPTER_SERVICE_OIDC_ISSUER", "https://login.example.org/realm")
    for algorithms in ("none", "HS256", "RS256,none"):
        monkeypatch.setenv("ADAPTER_SERVICE_OIDC_ALGORITHMS", algorithms)
        with pytest.raises(Invalid, match="ADAPTER_SERVICE_OIDC_ALGORITHMS"):
            read_settings()


@pytest.mark.parametrize(
    "origins", ["*", "null", "app.example.org", "https://app.example.org/", "https://*.example.org"]
)
def test_pages_may_call_from_origins_that_are_named(monkeypatch: pytest.MonkeyPatch, origins: str) -> None:
    monkeypatch.setenv("ADAPTER_SERVICE_CORS_ORIGINS", origins)
    with pytest.raises(Invalid, match="ADAPTER_SERVICE_CORS_ORIGINS"):
        read_settings()
    monkeypatch.setenv("ADAPTER_SERVICE_CORS_ORIGINS", "https://app.example.org,http://localhost:3000")
    assert read_settings().cors_origins == ("https://app.example.org", "http://localhost:3000")
