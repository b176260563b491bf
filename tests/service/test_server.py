"""When a signal begins the drain: at once, after the delay, or with a second signal."""

import asyncio
import signal

import pytest
import uvicorn

from service import server
from service.front.api.middleware.draining import Drain
from service.server import GRACE_S, DrainingServer


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(server, "monotonic", clock)
    return clock


async def _app(*_: object) -> None:
    raise AssertionError("nothing is asked of it")


def made(delay_s: float) -> tuple[DrainingServer, Drain]:
    drain = Drain()
    drain.running = 1  # so that it doesn't end before its grace does
    return DrainingServer(uvicorn.Config(_app, log_config=None), drain, delay_s), drain


def tick(draining: DrainingServer) -> bool:
    """Whether the server ends."""
    asyncio.run(draining.on_tick(1))
    return draining.should_exit


@pytest.mark.usefixtures("clock")
def test_without_a_delay_new_requests_are_refused_at_once() -> None:
    draining, drain = made(0.0)
    draining.handle_exit(signal.SIGTERM, None)
    assert drain.begun
    assert not tick(draining)


def test_with_a_delay_new_requests_are_let_in_until_it_has_passed_and_then_have_the_grace(clock: Clock) -> None:
    draining, drain = made(5.0)
    draining.handle_exit(signal.SIGTERM, None)
    clock.now += 4.9
    assert not tick(draining)
    assert (drain.announced, drain.begun) == (True, False)
    clock.now += 0.1
    assert not tick(draining)
    assert drain.begun
    clock.now += GRACE_S
    assert not tick(draining)
    clock.now += 0.1
    assert tick(draining)


@pytest.mark.usefixtures("clock")
def test_a_second_signal_ends_the_delay_and_the_grace() -> None:
    draining, drain = made(5.0)
    draining.handle_exit(signal.SIGTERM, None)
    draining.handle_exit(signal.SIGTERM, None)
    assert drain.begun
    assert draining.should_exit
