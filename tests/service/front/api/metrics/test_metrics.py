"""How long requests took: to their end, or to the head of an answer that goes on as long as its caller likes."""

import asyncio
from typing import cast

import pytest
from asgi_callers import post_scope
from starlette.types import Message, Receive, Scope, Send

from service.front.api.metrics import metrics
from service.front.api.metrics.metrics import FOLLOWS, CountRequests, Metrics


class Counted:
    def __init__(self) -> None:
        self.seconds: list[float] = []

    def count_request(self, _method: str, _route: str, _status: int, seconds: float, _team: str | None) -> None:
        self.seconds.append(seconds)


@pytest.mark.parametrize(("follows", "seconds"), [(False, 900.0), (True, 1.0)])
def test_a_stream_that_is_followed_counts_until_its_head(
    follows: bool, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([0.0, 1.0, 900.0])
    monkeypatch.setattr(metrics, "perf_counter", lambda: next(times))
    counted = Counted()

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if follows:
            scope[FOLLOWS] = True
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(_: Message) -> None:
        return None

    asyncio.run(CountRequests(app, cast(Metrics, counted))(post_scope("/events"), receive, send))
    assert counted.seconds == [seconds]
