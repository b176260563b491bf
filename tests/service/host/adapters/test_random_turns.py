"""Any order of requests, loads, pins and removals: the limit holds, and every caller is answered."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models_registry.errors import NoRoom
from tests.service.host.adapters.town import RANKS, Town

steps = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=3, unique=True)),
        st.tuples(st.just("finish"), st.integers(0, 7)),
        st.tuples(st.just("run"), st.none()),
        st.tuples(st.just("leave"), st.integers(0, 20)),
        st.tuples(st.just("unload"), st.sampled_from("abcdefgh")),
        st.tuples(st.just("pin"), st.sampled_from("abcd")),
        st.tuples(st.sampled_from(["break", "mend"]), st.sampled_from("abcdefgh")),
    ),
    max_size=60,
)


@given(steps)
@settings(max_examples=60, deadline=None)
def test_whatever_happens_the_limit_holds_everybody_is_answered_and_nothing_is_kept(
    happens: list[tuple[str, Any]],
) -> None:
    _live_through(happens)


@pytest.mark.deep
@given(steps)
@settings(max_examples=3000, deadline=None)
def test_however_often(happens: list[tuple[str, Any]]) -> None:
    _live_through(happens)


def _live_through(happens: list[tuple[str, Any]]) -> None:
    town = Town()
    does: dict[str, Callable[[Any], object]] = {
        "ask": lambda which: town.ask(*which),
        "finish": town.stagers.finish,
        "run": lambda _: town.run(),
        "leave": lambda which: town.asked and town.asked[which % len(town.asked)].future.cancel(),
        "unload": lambda name: town.adapters.unload([town.stored[name].version.key]),
        "pin": lambda which: _pin(town, which),
        "break": town.broken.add,
        "mend": town.broken.discard,
    }
    for what, which in happens:
        does[what](which)
        town.check()
    town.settle()
    assert all(job.future.done() for job in town.asked)
    assert town.adapters.absent() == frozenset()
    for name in RANKS:
        key = town.stored[name].version.key
        known = town.adapters.residency([key])
        assert key not in known or known[key].in_flight == 0
        town.adapters.unload([key])
    town.settle()
    assert town.adapted.adapters == ()
    assert town.adapters.taken == 0


def _pin(town: Town, name: str) -> None:
    version = town.stored[name].version
    try:
        with town.adapters.claimed(version):
            for _ in range(len(town.stagers.orders) + 1):
                town.run()
                town.stagers.finish(-1)
            town.run()
            if town.tier(version) != "stored":
                town.adapters.pin(version)
    except NoRoom:
        pass  # others are pinned already, which is said rather than evicting them
