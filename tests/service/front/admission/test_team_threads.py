"""Turns of teams for the threads of what takes long."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from service.front.access.caller import Caller, called_by
from service.front.admission.team_threads import TeamThreads

FLOOD = 5


async def ask(threads: TeamThreads, team: str, work: Callable[[], object]) -> None:
    with called_by(Caller(team, "publisher")):
        await threads.run(work)


class Held:
    """One thread that is busy until `release`."""

    def __init__(self) -> None:
        self.threads = TeamThreads(1)
        self.release = threading.Event()
        self.order: list[str] = []

    async def begin(self, *teams: str) -> list[asyncio.Task[None]]:
        """The tasks of these teams, which wait in this order for the busy thread."""
        busy = asyncio.create_task(ask(self.threads, "busy", self.release.wait))
        waiting = [asyncio.create_task(ask(self.threads, team, lambda t=team: self.order.append(t))) for team in teams]
        await asyncio.sleep(0)  # they are in line after one turn of the loop
        return [busy, *waiting]


def test_a_team_that_asks_once_waits_for_one_of_those_that_ask_often() -> None:
    async def flood() -> list[str]:
        held = Held()
        tasks = await held.begin(*["loud"] * FLOOD, "quiet")
        held.release.set()
        await asyncio.gather(*tasks)
        return held.order

    assert asyncio.run(flood()) == ["loud", "quiet", *["loud"] * (FLOOD - 1)]


def test_a_place_is_not_lost_with_the_caller_who_waited_for_it() -> None:
    async def leave() -> list[str]:
        held = Held()
        busy, left, *others = await held.begin("leaving", "staying", "leaving")
        left.cancel()
        held.release.set()
        await asyncio.gather(busy, *others)
        return held.order

    assert sorted(asyncio.run(leave())) == ["leaving", "staying"]


def test_what_fails_gives_its_place_free() -> None:
    async def fail() -> None:
        threads = TeamThreads(1)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await threads.run(lambda: 1 // 0)

    asyncio.run(fail())
