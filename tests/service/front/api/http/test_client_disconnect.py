"""Callers who leave while their adapter is being made: the work ends at its next step, and nothing of it is left."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apps import LORA, Start, create, expect, host
from asgi_callers import post_scope
from starlette.testclient import TestClient
from starlette.types import Message

from models_registry.adapters import compose
from models_registry.adapters.places import MethodPlace
from service.host.model_host import TorchHost

KEY = {"Idempotency-Key": "asked-once"}
CREATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "initial weights": ("/models/mlp/adapters", {"name": "made", "config": LORA, "seed": 1}),
    "a dry run": ("/models/mlp/adapters", {"name": "made", "config": LORA, "dry_run": True}),
    "a merge": ("/models/mlp/adapters/compose", {"name": "made", "adapters": {"part": 0.5}, "method": "svd"}),
}


class Leaver:
    """A caller who leaves once the first step of the work has begun; it goes on once the host was told."""

    def __init__(self, client: TestClient, path: str, body: dict[str, Any]) -> None:
        self.steps = 0
        self.begun, self.told = threading.Event(), threading.Event()
        self._client = client
        self._scope = post_scope(path, KEY)
        self._messages: Iterator[Message] = iter([{"type": "http.request", "body": json.dumps(body).encode()}])

    def work(self) -> None:
        """A step of it."""
        self.steps += 1
        self.begun.set()
        assert self.told.wait(60)

    def ask(self) -> None:
        portal = self._client.portal
        assert portal is not None
        portal.call(self._client.app, self._scope, self._receive, self._send)

    async def _receive(self) -> Message:
        if (message := next(self._messages, None)) is not None:
            return message
        await asyncio.to_thread(self.begun.wait, 60)
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        """Nobody takes it."""


@pytest.mark.parametrize("creation", CREATIONS)
def test_work_for_a_disconnected_caller_ends_at_its_next_step(
    creation: str, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = start()
    host(client, "mlp", "bases:mlp")
    create(client, "part")
    path, body = CREATIONS[creation]
    blobs = sorted((tmp_path / "blobs").iterdir())
    leaver = Leaver(client, path, body)
    initial, merge, cancel = MethodPlace.initial, compose.merge, TorchHost.cancel

    def slowly_initial(*arguments: Any) -> Any:
        leaver.work()
        return initial(*arguments)

    def slowly_merged(*arguments: Any) -> Any:
        leaver.work()
        return merge(*arguments)

    def cancel_and_tell(torch_host: TorchHost, id: int) -> None:
        cancel(torch_host, id)
        leaver.told.set()

    with monkeypatch.context() as patched:
        patched.setattr(TorchHost, "cancel", cancel_and_tell)
        patched.setattr(MethodPlace, "initial", slowly_initial)
        patched.setattr(compose, "merge", slowly_merged)
        leaver.ask()

    assert leaver.steps == 1  # of two
    assert [item["name"] for item in client.get("/adapters").json()["items"]] == ["part"]
    assert sorted((tmp_path / "blobs").iterdir()) == blobs
    expect(client.post(path, json=body | {"dry_run": False} if "config" in body else body, headers=KEY), 201)


def test_callers_who_stay_get_all_of_it(client: TestClient) -> None:
    create(client, "stays")
    composed = {"name": "stays-composed", "adapters": {"stays": 2.0}, "method": "cat"}
    assert len(expect(client.post("/models/mlp/adapters/compose", json=composed), 201)["targets"]) == 2
