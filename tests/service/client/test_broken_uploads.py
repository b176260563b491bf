"""Uploads whose connection breaks on the way to a real service: the error says whether anything was stored."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from apps import LORA
from breaking import BreakingWay, breaking_way

from service.client import AsyncClient, CheckpointFiles, Client, NotFound, Retries, Unreachable, UploadBroken

RANK = 43_000
HALF = 1_000_000
"""Bytes; the file has about twice as many, which no buffer on the way holds."""
TRIES = Retries(2, longest_s=0.0)
SMALL_BUFFER = [(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)]
"""What waits in a buffer of the system counts as sent."""


def saved(directory: Path, value: float) -> Path:
    weights = {
        "first.lora_A.weight": np.full((RANK, 4), value, "f4"),
        "first.lora_B.weight": np.ones((8, RANK), "f4"),
    }
    return CheckpointFiles.of({**LORA, "target_modules": ["first"], "r": RANK}, weights).save(directory)


@pytest.fixture
def way(client: Client, address: str) -> Iterator[BreakingWay]:
    with breaking_way(address) as way:
        yield way


class Forgetting(httpx.HTTPTransport):
    """Sends everything, and loses the answers of what it sent."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = super().handle_request(request)
        if request.method == "GET":
            return answer
        answer.read()
        raise httpx.ReadError("cut")


def test_an_upload_cut_in_the_middle_says_that_nothing_was_stored(
    client: Client, way: BreakingWay, tmp_path: Path
) -> None:
    directory = saved(tmp_path, 1.0)
    way.after = HALF
    own = Client(way.address, retries=TRIES, transport=httpx.HTTPTransport(socket_options=SMALL_BUFFER))
    with own, pytest.raises(UploadBroken, match="nothing was stored") as caught:
        own.adapters.push("cut", directory, model="mlp")
    assert not caught.value.may_be_stored
    assert 0 < caught.value.sent < caught.value.total == (directory / "adapter_model.safetensors").stat().st_size
    assert way.broken == TRIES.attempts
    with pytest.raises(NotFound):
        client.adapters.get("cut")
    way.after = None
    with Client(way.address) as own:
        assert own.adapters.push("cut", directory, model="mlp").version.reference == "cut@1"


def test_a_new_version_cut_in_the_middle_is_not_there(client: Client, way: BreakingWay, tmp_path: Path) -> None:
    client.adapters.push("cut-again", saved(tmp_path, 1.0), model="mlp")
    files = CheckpointFiles.open(saved(tmp_path, 2.0))
    in_memory = CheckpointFiles(files.config, (tmp_path / "adapter_model.safetensors").read_bytes())
    way.after = HALF

    async def push() -> None:
        transport = httpx.AsyncHTTPTransport(socket_options=SMALL_BUFFER)
        async with AsyncClient(way.address, retries=TRIES, transport=transport) as own:
            await own.adapters.push("cut-again", in_memory, model="mlp")

    with pytest.raises(UploadBroken, match="nothing was stored"):
        asyncio.run(push())
    assert len(client.adapters.get("cut-again").versions) == 1


def test_a_lost_answer_says_that_it_may_be_stored_and_once(client: Client, address: str, tmp_path: Path) -> None:
    directory = saved(tmp_path, 3.0)
    with Client(address, retries=TRIES, transport=Forgetting()) as own, pytest.raises(UploadBroken) as caught:
        own.adapters.push("lost", directory, model="mlp")
    assert caught.value.may_be_stored
    assert "may be stored" in str(caught.value)
    assert client.adapters.push("lost", directory, model="mlp").unchanged
    assert len(client.adapters.get("lost").versions) == 1


def test_a_push_that_was_never_sent_says_no_more_than_that(client: Client, way: BreakingWay, tmp_path: Path) -> None:
    way.after = 0
    with Client(way.address, retries=TRIES) as own, pytest.raises(Unreachable) as caught:
        own.adapters.push("unsent", saved(tmp_path, 1.0), model="mlp")
    assert not isinstance(caught.value, UploadBroken)
