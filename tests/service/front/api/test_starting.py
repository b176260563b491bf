"""What a server is told, and so its operator, when the app can't start."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from apps import settings_in
from starlette.types import Message
from stores import S3Server

from models_registry.errors import Invalid, Unavailable
from service import bootstrap
from service.front.api.starting import PlainStart


def told(error: type[Exception], directory: Path, **changed: Any) -> str:
    """What the app says about its start, which fails with `error`."""
    said: list[Message] = []

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        said.append(message)

    served = PlainStart(bootstrap.create_app(settings_in(directory).model_copy(update=changed)))
    with pytest.raises(error):
        asyncio.run(served({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send))
    (message,) = said
    assert message["type"] == "lifespan.startup.failed"
    return message["message"]


def test_a_bucket_that_is_not_there_is_said_in_one_sentence(s3_url: str, s3_server: S3Server, tmp_path: Path) -> None:
    said = told(Invalid, tmp_path, blob_url="s3://elsewhere/prefix", s3_endpoint=s3_server.endpoint)

    assert said.startswith("Can't use the bucket 'elsewhere'")
    assert said.endswith("Create it: the service never does.")


def test_a_directory_that_cannot_be_made_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    said = told(Unavailable, tmp_path, blob_url=f"file:{tmp_path}/taken/blobs")

    assert said.startswith("Can't reach the blob store")
    assert "\n" not in said


def test_what_nobody_foresaw_keeps_its_stack_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(bootstrap, "open_database", fail)
    said = told(ZeroDivisionError, tmp_path)

    assert said.startswith("Traceback")
    assert "ZeroDivisionError" in said
