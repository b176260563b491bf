"""How a model's loading is followed: asked again until it is there, or the time is over."""

import asyncio

import httpx
import pytest

from service.client import AsyncClient, Client, Invalid

from .test_retries import Scripted


def loading(step: str, fraction: float | None) -> httpx.Response:
    progress = {"step": step, "fraction": fraction, "seconds": 1.0}
    return httpx.Response(202, json={"id": "m", "state": "loading", "progress": progress})


READY = httpx.Response(200, json={"id": "m", "state": "ready", "progress": None})


def test_each_look_at_a_loading_model_is_told() -> None:
    told: list[tuple[str, float | None]] = []
    transport = Scripted(loading("starting", None), loading("building", 0.5), READY)
    client = Client("http://service", transport=transport)
    model = client.models.load("m", wait_s=60, progress=lambda step, fraction: told.append((step, fraction)))
    assert model.state == "ready"
    assert told == [("starting", None), ("building", 0.5)]
    assert {request.url.params["wait"] for request in transport.requests} == {"0.5"}


def test_without_a_time_to_wait_loading_only_begins() -> None:
    transport = Scripted(loading("starting", None))
    assert Client("http://service", transport=transport).models.load("m").state == "loading"
    assert not transport.requests[0].url.params


def test_a_model_that_fails_meanwhile_is_an_error() -> None:
    failed = httpx.Response(422, json={"type": "invalid", "detail": "it can't be built"})
    with pytest.raises(Invalid, match="can't be built"):
        Client("http://service", transport=Scripted(loading("building", None), failed)).models.load("m", wait_s=60)


def test_the_client_for_asyncio_waits_too(address: str, client: Client) -> None:
    async def load() -> str:
        async with AsyncClient(address) as own:
            return (await own.models.load("mlp", wait_s=60)).state

    client.models.unload("mlp")
    assert asyncio.run(load()) == "ready"
