"""Real secrets, where real errors carry them: none is in an answer, none in the log."""

import logging
import os
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from apps import create, expect, host, settings_in
from databases import Postgres
from sqlalchemy import make_url
from starlette.requests import Request
from starlette.testclient import TestClient
from stores import S3Server

from models_registry.errors import Invalid, RegistryError, Unavailable
from models_registry.storage.blobs import open_blob_store
from models_registry.storage.database import migrate
from service.bootstrap import create_app
from service.front.api import dependencies
from service.log import TextFormatter
from service.secret_values import redactor_of, secret_values
from service.settings import Settings

SECRET = "wJalrXUtnFEMI/K7MDENG"

FACTORIES = f"""
import os


def quoting():
    raise RuntimeError("no bucket for " + os.environ["AWS_SECRET_ACCESS_KEY"])


def connecting():
    raise RuntimeError("postgresql://me:{SECRET}@host/db is away")
"""


class Log:
    """What the process would have written for the records of this test."""

    def __init__(self, records: pytest.LogCaptureFixture, settings: Settings) -> None:
        self._records = records
        self._formatter = TextFormatter(redactor_of(settings))

    def __str__(self) -> str:
        return "\n".join(map(self._formatter.format, self._records.records))


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    (tmp_path / "quoters.py").write_text(FACTORIES)
    monkeypatch.syspath_prepend(tmp_path)
    return settings_in(tmp_path).model_copy(update={"factories": ("bases:*", "quoters:*")})


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, settings: Settings) -> Log:
    caplog.set_level(logging.DEBUG)
    return Log(caplog, settings)


@pytest.mark.parametrize("factory", ["quoting", "connecting"])
def test_a_factorys_words_are_shown_without_secrets(factory: str, client: TestClient, log: Log) -> None:
    body = {"id": "m", "source": {"kind": "python", "factory": f"quoters:{factory}"}}
    refused = client.post("/models", params={"wait": 60}, json=body)
    assert refused.status_code == 422
    client.post("/models", json=body)
    shown = [refused.text, *(client.get(path).text for path in ("/models", "/events", "/health/ready")), str(log)]
    assert not [words for words in shown if SECRET in words]
    assert "RuntimeError" in refused.text
    assert "***" in refused.text
    assert "***" in str(log)


def test_an_authorization_header_is_not_logged_whatever_quotes_it(
    client: TestClient, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(request: Request) -> None:
        raise ValueError(f"{request.scope['headers']} {dict(request.headers)} {request.headers['authorization']}")

    monkeypatch.setattr(dependencies, "engine_of", fail)
    answer = client.get("/models", headers={"Authorization": f"Bearer {SECRET}", "X-API-Key": SECRET})
    logging.getLogger("uvicorn.error").error("Exception in ASGI application", exc_info=_error_of(client))
    assert answer.status_code == 500
    assert SECRET not in answer.text
    assert SECRET not in str(log)


def _error_of(client: TestClient) -> Exception:
    with pytest.raises(ValueError, match="authorization") as caught:
        TestClient(client.app).get("/models", headers={"Authorization": f"Bearer {SECRET}", "X-API-Key": SECRET})
    return caught.value


def test_a_presigned_address_leaves_no_signature_behind(
    s3_url: str, s3_server: S3Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    changed = {"blob_url": s3_url, "s3_endpoint": s3_server.endpoint}
    settings = settings_in(tmp_path).model_copy(update=changed)
    caplog.set_level(logging.DEBUG)
    with TestClient(create_app(settings)) as client:
        host(client, "mlp", "bases:mlp")
        create(client, "tone")
        redirect = client.get("/adapters/tone/state", params={"presign": True}, follow_redirects=False)
    address = redirect.headers["location"]
    signature = address.partition("X-Amz-Signature=")[2].partition("&")[0]
    assert len(signature) == 64
    logging.getLogger("some.library").warning("can't read %s", address)
    written = str(Log(caplog, settings))
    assert "can't read http" in written
    assert signature not in written
    assert "Credential=***" in written


def test_a_bucket_that_refuses_us_is_named_without_the_key(
    s3_url: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with pytest.raises(Invalid) as caught:
        open_blob_store(s3_url, s3_server.endpoint)
    assert "AWS_SECRET_ACCESS_KEY" in caught.value.detail
    assert SECRET not in _everything_in(caught.value)


@pytest.mark.parametrize("password", ["correct-horse", "p@ss:w/rd", "p%40ss%3Aword"])
def test_a_database_that_is_not_there_is_named_without_its_password(password: str) -> None:
    with pytest.raises((Unavailable, Invalid)) as caught:
        migrate(f"postgresql://me:{password}@127.0.0.1:1/registry")
    for part in (password, "p@ss", "w/rd", "p@ss:word"):
        assert part not in _everything_in(caught.value)


def test_a_wrong_password_is_not_repeated(postgres: Postgres) -> None:
    with postgres.database() as url:
        wrong = make_url(url).set(database="nowhere", password=SECRET).render_as_string(hide_password=False)
        with pytest.raises(RegistryError) as caught:
            migrate(wrong)
    assert SECRET not in _everything_in(caught.value)


def test_the_values_that_are_hidden_are_those_of_the_settings_and_the_environment() -> None:
    urls = ("postgresql://me:p%40ss@host/db?sslpassword=inner", "s3://bucket/prefix", None)
    environment = {"AWS_SESSION_TOKEN": "session", "HF_TOKEN": "", "PATH": "/bin"}
    assert set(secret_values(urls, environment)) == {"p%40ss", "p@ss", "inner", "session"}


def test_readiness_names_a_store_without_its_secrets(client: TestClient) -> None:
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == SECRET
    assert expect(client.get("/health/ready"), 200)["degraded"] == []


def _everything_in(error: Exception) -> str:
    """With its causes, as a stack trace shows it."""
    return "".join(traceback.format_exception(error))
