"""The log of changes by both clients: read, and followed as it grows."""

import asyncio
from itertools import islice

import httpx
import pytest
from apps import RANDOM_LORA

from service.client import AsyncClient, Client, Event, Retries, Unreachable

from .test_retries import Scripted


def newest(client: Client) -> int:
    return max((event.id for event in client.events.list()), default=0)


def test_what_was_and_what_is_made_meanwhile_is_followed(client: Client) -> None:
    after = newest(client)
    client.adapters.create("followed", RANDOM_LORA, model="mlp", seed=1)
    followed = client.events.follow(after=after, adapter="followed")
    kinds = [event.kind for event in islice(followed, 2)]
    client.adapters.promote("followed", 1, alias="prod", reason="good")
    moved = next(followed)
    followed.close()
    assert kinds == ["adapter.created", "version.added"]
    assert (moved.subject, moved.raw["reason"]) == ("followed@prod", "good")
    assert moved == client.events.list(after=moved.id - 1).__next__()


def test_the_client_for_asyncio_follows_too(client: Client, address: str) -> None:
    after = newest(client)

    async def follow() -> list[Event]:
        async with AsyncClient(address) as own:
            await own.adapters.create("async-followed", RANDOM_LORA, model="mlp", seed=1)
            found: list[Event] = []
            async for event in own.events.follow(after=after, adapter="async-followed"):
                found.append(event)
                if len(found) == 2:
                    await own.adapters.delete("async-followed", reason="over")
                if len(found) == 3:
                    break
            return found

    events = asyncio.run(follow())
    assert [event.kind for event in events] == ["adapter.created", "version.added", "adapter.removed"]
    assert events[-1].raw["reason"] == "over"


def test_a_stream_that_ends_is_followed_on_from_its_last_event() -> None:
    transport = Scripted(stream(1), stream(2), httpx.ReadError("cut"), httpx.ReadError("cut"))
    own = Client("http://service", retries=Retries(1), transport=transport)
    followed = own.events.follow()
    assert [event.id for event in islice(followed, 2)] == [1, 2]
    with pytest.raises(Unreachable):
        next(followed)
    assert [request.url.params["after"] for request in transport.requests] == ["0", "1", "2", "2"]


def test_the_last_events_id_overrides_the_query(client: Client, address: str) -> None:
    client.adapters.create("numbered", RANDOM_LORA, model="mlp", seed=1)
    first, second, *_ = client.events.list(adapter="numbered")
    query = {"follow": "true", "adapter": "numbered", "after": 0}
    with httpx.stream("GET", f"{address}/events", params=query, headers={"Last-Event-ID": str(first.id)}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        assert next(line for line in lines if line.startswith("id: ")) == f"id: {second.id}"
    assert httpx.get(f"{address}/events?follow=maybe").status_code == 400


def stream(id: int) -> httpx.Response:
    event = f'{{"id": {id}, "kind": "model.built", "subject": "mlp", "at": "2026-11-28T07:00:00Z"}}'
    text = f": still there\n\nid: {id}\nevent: change\ndata: {event}\n\n"
    return httpx.Response(200, text=text, headers={"Content-Type": "text/event-stream"})
