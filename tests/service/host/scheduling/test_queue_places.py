from concurrent.futures import Future

import pytest

from models_registry.errors import Overloaded
from service.host.scheduling.queue_places import QueuePlaces
from service.protocol.types import HostAnswer


def take(places: QueuePlaces, team: str, count: int) -> list[Future[HostAnswer]]:
    """As many as it gets of so many."""
    taken: list[Future[HostAnswer]] = []
    for _ in range(count):
        future: Future[HostAnswer] = Future()
        try:
            places.take(future, team)
        except Overloaded:
            break
        taken.append(future)
    return taken


def test_a_team_alone_gets_all_places_and_no_more() -> None:
    assert len(take(QueuePlaces(8), "A", 100)) == 8


def test_a_full_queue_still_has_each_other_teams_fair_share() -> None:
    places = QueuePlaces(8)
    take(places, "A", 100)
    assert len(take(places, "B", 100)) == 4
    assert len(take(places, "C", 100)) == 2
    assert take(places, "A", 1) == []


def test_a_team_above_its_share_gets_no_place_of_a_full_queue_that_others_wait_in() -> None:
    places = QueuePlaces(8)
    busy, others = take(places, "A", 8), take(places, "B", 4)
    places.give_free(busy[:3])
    assert take(places, "A", 1) == []
    places.give_free([*busy[3:5], *others])
    assert len(take(places, "A", 100)) == 5


def test_there_are_never_more_than_twice_as_many_places() -> None:
    places = QueuePlaces(3)
    assert sum(len(take(places, str(team), 1)) for team in range(100)) == len(places) == 6


def test_a_place_that_was_given_free_twice_counts_once() -> None:
    places = QueuePlaces(2)
    first, _ = take(places, "A", 2)
    for _ in range(2):
        places.give_free([first])
    assert len(take(places, "A", 100)) == 1
    with pytest.raises(Overloaded, match="2 requests wait"):
        places.take(Future(), "A")
