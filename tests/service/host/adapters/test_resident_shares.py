"""Whose adapters make room, where a team has a share of the memory."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models_registry.errors import NoRoom
from tests.service.host.adapters.town import ONE, TEAMS, Town


def resident(town: Town) -> str:
    return " ".join(sorted(name.partition("@")[0] for name in town.adapted.adapters))


def asked(town: Town, *names: str) -> None:
    """One after the other."""
    for name in names:
        town.ask(name)
        town.settle()


def test_a_team_makes_room_among_its_own_adapters_and_pushes_out_no_others() -> None:
    town = Town(4 * ONE)
    town.adapters.share({"A": 0.5})
    asked(town, "B:x", "a", "A:x", "A:y", "A:z", "A:x")
    assert resident(town) == "A:x A:z B:x a"


def test_a_team_without_a_share_pushes_out_whatever_was_used_longest_ago() -> None:
    town = Town(4 * ONE)
    town.adapters.share({"A": 0.5})
    asked(town, "A:x", "A:y", "B:x", "B:y", "B:z")
    assert resident(town) == "A:y B:x B:y B:z"


def test_a_team_within_its_share_pushes_out_what_was_used_longest_ago() -> None:
    town = Town(2 * ONE)
    town.adapters.share({"A": 0.5})
    asked(town, "B:x", "B:y", "A:x")
    assert resident(town) == "A:x B:y"


def test_a_share_that_is_lowered_evicts_what_the_team_used_longest_ago() -> None:
    town = Town(4 * ONE)
    asked(town, "A:x", "A:y", "B:x", "A:x")
    town.adapters.share({"A": 0.25})
    assert not town.adapters.is_balanced
    town.settle()
    assert resident(town) == "A:x B:x"
    assert town.adapters.is_balanced


def test_many_requests_of_a_team_at_its_share_all_have_their_turns_and_stop_nobody() -> None:
    town = Town(3 * ONE)
    town.adapters.share({"A": 0.34})
    asks = [town.ask(name) for name in ("A:x", "A:y", "A:z", "A:x", "A:y", "B:x", "B:y")]
    town.settle()
    assert [job.future.exception(0) for job in asks] == [None] * len(asks)
    assert resident(town).split()[1:] == ["B:x", "B:y"]


def test_a_request_that_needs_more_than_the_share_is_told_whose_it_is() -> None:
    town = Town(4 * ONE)
    town.adapters.share({"A": 0.25})
    fails, runs = town.ask("A:x", "A:y"), town.ask("A:x", "B:x")
    town.settle()
    assert isinstance(error := fails.future.exception(0), NoRoom)
    assert f"team 'A' may take {ONE}" in str(error)
    assert runs.future.exception(0) is None


def test_a_pin_beyond_the_share_is_refused_though_there_is_room() -> None:
    town = Town(4 * ONE)
    town.adapters.share({"A": 0.25})
    asked(town, "A:x", "B:x")
    with town.adapters.claimed(town.stored["A:x"].version):
        town.adapters.pin(town.stored["A:x"].version)
    with pytest.raises(NoRoom, match="resident_share"), town.adapters.claimed(town.stored["A:y"].version):
        pass


def test_what_is_just_created_makes_room_among_its_teams_own() -> None:
    town = Town(4 * ONE)
    town.adapters.share({"A": 0.25})
    asked(town, "B:x", "A:x")
    new = town.stored["A:y"]
    town.adapters.place(new.version, town.loader.prepare(new.version, None))
    assert resident(town) == "A:y B:x"


def test_what_is_running_is_not_evicted_by_a_lower_share() -> None:
    town = Town(4 * ONE)
    asked(town, "A:x", "A:y")
    town.adapters.share({"A": 0.0})
    town.adapters.rebalance([], running={town.stored["A:x"].version.key})
    assert resident(town) == "A:x"


def test_blobs_are_read_in_turns_of_their_owners() -> None:
    town = Town(6 * ONE)
    read: list[str] = []
    town.reading = read.append
    for name in ("A:x", "A:y", "A:z", "B:x", "B:y"):
        town.ask(name)
    town.settle()
    assert read == ["A:x", "B:x", "A:y", "B:y", "A:z"]


ASKS = st.tuples(st.sampled_from(sorted(TEAMS)), st.integers(0, 2))


@settings(max_examples=20, deadline=None)
@given(st.lists(ASKS, max_size=20), st.sampled_from([0.25, 0.5]))
def test_no_team_ever_takes_more_than_its_share(asks: list[tuple[str, int]], share: float) -> None:
    town = Town(4 * ONE)
    town.adapters.share({"A": share})
    for name, reads in asks:
        town.ask(name)
        for _ in range(reads):
            town.stagers.finish()
        town.run()
        assert resident(town).count("A:") <= 4 * share
    town.settle()
    assert all(job.future.exception(0) is None for job in town.asked)
