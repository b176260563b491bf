"""Whose turn it is for a place, and how many a team may have."""

import asyncio
from collections.abc import Awaitable, Callable

from service.front.admission.team_places import TeamPlaces

MANY = 10


class Taking:
    """Those that have asked for one of these places, in the order in which they got it."""

    def __init__(self, places: TeamPlaces) -> None:
        self.places = places
        self.order: list[str] = []

    async def ask(self, *teams: str) -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(self._take(team)) for team in teams]
        await asyncio.sleep(0)  # they have asked after one turn of the loop
        return tasks

    async def leave(self, *teams: str) -> None:
        for team in teams:
            self.places.give_back(team)
        await asyncio.sleep(0)

    async def _take(self, team: str) -> None:
        await self.places.take(team)
        self.order.append(team)


def played(game: Callable[[Taking], Awaitable[None]], places: TeamPlaces) -> None:
    async def play() -> None:
        await game(Taking(places))

    asyncio.run(play())


def test_a_team_alone_gets_no_more_than_its_part_of_the_places() -> None:
    async def game(taking: Taking) -> None:
        await taking.ask(*["loud"] * MANY)
        assert taking.order == ["loud"] * 4
        assert taking.places.waiting("loud") == MANY - 4
        await taking.ask("quiet")
        assert taking.order[4:] == ["quiet"]

    played(game, TeamPlaces(6, alone=4, beside_others=2))


def test_beside_others_a_team_gets_no_further_places_until_it_has_few() -> None:
    async def game(taking: Taking) -> None:
        await taking.ask(*["loud"] * MANY)
        await taking.ask("quiet")
        await taking.leave("loud", "loud")
        assert taking.order[5:] == []
        await taking.leave("loud")
        assert taking.order[5:] == ["loud"]
        await taking.leave("quiet")  # the team is alone again
        assert taking.order[6:] == ["loud"] * 2

    played(game, TeamPlaces(6, alone=4, beside_others=2))


def test_teams_take_turns_for_the_places_that_become_free() -> None:
    async def game(taking: Taking) -> None:
        await taking.ask("a", "b", "a", "a", "b", "c")
        await taking.leave("a", "b")
        assert taking.order[2:] == ["a", "b"]
        await taking.leave("a", "b")
        assert taking.order[4:] == ["c", "a"]

    played(game, TeamPlaces(2))


def test_one_who_left_while_waiting_takes_no_place() -> None:
    async def game(taking: Taking) -> None:
        _, left, _ = await taking.ask("a", "b", "c")
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        assert taking.places.waiting("b") == 0
        await taking.leave("a")
        assert taking.order == ["a", "c"]

    played(game, TeamPlaces(1))


def test_a_place_that_came_too_late_goes_to_the_next() -> None:
    async def game(taking: Taking) -> None:
        _, left, _ = await taking.ask("a", "b", "c")
        taking.places.give_back("a")
        left.cancel()  # before it has seen that it got the place
        await asyncio.gather(left, return_exceptions=True)
        await asyncio.sleep(0)
        assert taking.order == ["a", "c"]

    played(game, TeamPlaces(1))
