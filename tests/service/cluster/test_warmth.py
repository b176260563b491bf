"""Which replica gets a request, from what a front knows."""

from collections import Counter
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from service.cluster.replica_view import GRACE_S, ReplicaReport
from service.cluster.warmth import Need, WarmRouting

TONE, OTHER = Need(("tone",)), Need(("other",))


def routing(*ids: str, seed: int = 0) -> WarmRouting:
    made = WarmRouting(Random(seed))
    made.keep(ids)
    return made


def full(*resident: str, load: int = 0) -> ReplicaReport:
    return ReplicaReport(resident, load, 16, 0)


def first(made: WarmRouting, need: Need, now: float = 1.0) -> str:
    return made.choose(need, now).replicas[0]


def route(made: WarmRouting, need: Need, now: float = 1.0) -> str:
    chosen = first(made, need, now)
    made.send(chosen, need, now)
    return chosen


# ---- warm replicas ----------------------------------------------------------------------------------------------


def test_a_request_goes_where_its_version_is() -> None:
    made = routing("a", "b", "c")
    made.report("b", full("tone"), 0.0)
    choice = made.choose(TONE, 1.0)
    assert (choice.replicas[0], choice.is_warm) == ("b", True)


def test_a_version_that_is_nowhere_is_a_cold_choice() -> None:
    assert not routing("a", "b").choose(TONE, 1.0).is_warm


def test_the_next_request_follows_the_one_that_loads() -> None:
    made = routing(*"abcdefgh")
    loads_at = route(made, TONE)
    made.complete(loads_at, TONE)
    assert {route(made, TONE, now) for now in (1.1, 1.2)} == {loads_at}


def test_of_two_warm_replicas_the_less_busy_is_taken() -> None:
    made = routing("a", "b", "c")
    made.report("a", full("tone", load=9), 0.0)
    made.report("b", full("tone", load=3), 0.0)
    made.report("c", full("other", load=9), 0.0)
    assert first(made, TONE) == "b"


def test_a_base_request_is_warm_everywhere() -> None:
    made = routing("a", "b")
    made.report("a", full(load=9), 0.0)
    choice = made.choose(Need(), 1.0)
    assert (choice.replicas[0], choice.is_warm) == ("b", True)


def test_several_versions_go_where_most_of_them_are() -> None:
    made = routing("a", "b", "c")
    made.report("a", full("tone"), 0.0)
    made.report("b", full("tone", "other"), 0.0)
    choice = made.choose(Need(("tone", "other")), 1.0)
    assert (choice.replicas[0], choice.is_warm) == ("b", True)


# ---- load -------------------------------------------------------------------------------------------------------


def test_a_hot_version_gets_another_copy_where_its_replica_is_busy() -> None:
    made = routing("a", "b")
    for _ in range(8):
        route(made, TONE)
    assert made.holders("tone") == {"a", "b"}


def test_rare_versions_stay_with_a_replica_that_is_a_little_busier() -> None:
    made = routing("a", "b")
    for number in range(100):
        made.choose(Need((f"v{number}",)), 0.0)
    made.report("a", full("tone", load=12), 0.5)
    made.report("b", full("other", load=0), 0.5)
    assert first(made, TONE) == "a"


def test_an_overloaded_warm_replica_shares_even_a_rare_version() -> None:
    made = routing("a", "b")
    for number in range(100):
        made.choose(Need((f"v{number}",)), 0.0)
    made.report("a", full("tone", load=60), 0.5)
    made.report("b", full("other", load=0), 0.5)
    assert first(made, TONE) == "b"


def test_a_hot_version_spreads_over_all_replicas_it_keeps_busy() -> None:
    made = routing(*"abcdefgh")
    for _ in range(8 * 64):
        route(made, TONE)
    assert made.holders("tone") == set("abcdefgh")


def test_a_new_replica_fills_without_a_stampede() -> None:
    made = routing(*(f"r{number}" for number in range(20)))
    for id in sorted(made.replicas):
        made.report(id, full(f"of {id}", load=8), 0.0)
    made.keep([*made.replicas, "new"])
    sent = Counter(route(made, Need((f"v{number}",))) for number in range(100))
    assert 1 <= sent["new"] <= 25


# ---- what is evicted ----------------------------------------------------------------------------------------------


def test_a_rare_version_does_not_evict_popular_ones() -> None:
    """All are full of versions that were asked for often: rare ones go to few replicas."""
    ids = [f"r{number}" for number in range(20)]
    made = routing(*ids)
    for id in ids:
        made.report(id, full(f"of {id}"), 0.0)
        for _ in range(5):
            made.choose(Need((f"of {id}",)), 0.5)
    chosen: set[str] = set()
    for number in range(100):
        need = Need((f"v{number}",))
        chosen.add(id := route(made, need))
        made.complete(id, need)
    assert len(chosen) <= 2


def test_a_popular_version_evicts_a_rare_one() -> None:
    ids = [f"r{number}" for number in range(20)]
    made = routing(*ids)
    for _ in range(20):
        made.choose(TONE, 0.0)
    for id in ids:
        made.report(id, full(f"of {id}"), 0.0)
    rare = {route(made, Need((f"v{number}",))) for number in range(10)}
    assert first(made, TONE) not in rare


def test_fronts_agree_where_rare_versions_go() -> None:
    ids = [f"r{number}" for number in range(20)]
    fronts = [routing(*ids, seed=1), routing(*reversed(ids), seed=2)]
    for front in fronts:
        for id in ids:
            front.report(id, full(f"of {id}"), 0.0)
            for _ in range(5):
                front.choose(Need((f"of {id}",)), 0.5)
    assert first(fronts[0], TONE) == first(fronts[1], OTHER)


# ---- prefixes -----------------------------------------------------------------------------------------------------


def test_a_prompt_goes_where_its_beginning_was_computed() -> None:
    made = routing(*"abcdefgh")
    need = Need((), 1, ("short", "long"))
    sent_to = route(made, need)
    made.complete(sent_to, need)
    assert {first(made, need, now) for now in (1.1, 1.2, 1.3)} == {sent_to}


def test_a_busy_replica_does_not_keep_a_prompt() -> None:
    made = routing("a", "b")
    need = Need((), 1, ("long",))
    sent_to = route(made, need)
    made.report(sent_to, ReplicaReport((), 40, 16, 4), 1.5)
    assert first(made, need, 2.0) != sent_to


# ---- what is stale, and what has ended ----------------------------------------------------------------------------


def test_a_report_may_not_know_yet_what_was_just_sent() -> None:
    made = routing("a", "b")
    loads_at = route(made, TONE, 1.0)
    made.report(loads_at, full("other"), 1.5)
    assert made.holders("tone") == {loads_at}


def test_a_later_report_without_a_version_ends_its_warmth() -> None:
    made = routing("a", "b")
    loads_at = route(made, TONE, 1.0)
    made.report(loads_at, full("other"), 1.0 + GRACE_S)
    assert made.holders("tone") == set()


def test_a_replica_that_has_ended_gets_nothing() -> None:
    made = routing("a", "b")
    made.report("a", full("tone"), 0.0)
    made.remove("a")
    assert first(made, TONE) == "b"


def test_a_replica_that_refused_is_not_asked_again() -> None:
    made = routing("a", "b", "c")
    made.report("a", full("tone"), 0.0)
    assert "a" not in made.choose(TONE, 1.0, ("a",)).replicas


def test_without_replicas_there_is_no_choice() -> None:
    assert routing().choose(TONE, 1.0).replicas == ()
    assert routing("a").choose(TONE, 1.0, ("a",)).replicas == ()


# ---- whatever happens -----------------------------------------------------------------------------------------------

IDS = st.sampled_from("abcde")
VERSIONS = st.sampled_from([f"v{number}" for number in range(6)])
NEEDS = st.builds(Need, st.lists(VERSIONS, max_size=3, unique=True).map(tuple), st.integers(1, 5))
EVENTS = st.one_of(
    st.tuples(st.just("keep"), st.sets(IDS, min_size=1)),
    st.tuples(st.just("remove"), IDS),
    st.tuples(st.just("route"), NEEDS),
    st.tuples(st.just("complete"), st.none()),
    st.tuples(st.just("report"), st.tuples(IDS, st.lists(VERSIONS, unique=True, max_size=4), st.integers(0, 80))),
)


@settings(deadline=None, max_examples=50)
@given(st.lists(EVENTS, max_size=25), st.integers(0, 9))
def test_choices_are_replicas_that_there_are(events: list[tuple[str, object]], seed: int) -> None:
    made = WarmRouting(Random(seed))
    there: set[str] = set()
    sent: list[tuple[str, Need]] = []
    for step, (name, detail) in enumerate(events):
        now = step / 3
        if name == "keep" and isinstance(detail, set):
            there = set(detail)
            made.keep(there)
        elif name == "remove" and isinstance(detail, str):
            there.discard(detail)
            made.remove(detail)
        elif name == "report" and isinstance(detail, tuple):
            id, resident, load = detail
            made.report(id, ReplicaReport(tuple(resident), load, 16, 1), now)
        elif name == "complete" and sent:
            made.complete(*sent.pop())
        elif isinstance(detail, Need):
            choice = made.choose(detail, now)
            assert set(choice.replicas) <= there
            assert bool(choice.replicas) == bool(there)
            assert len(set(choice.replicas)) == len(choice.replicas)
            if there:
                warm = all(choice.replicas[0] in made.holders(key) for key in detail.versions)
                assert choice.is_warm == warm
                made.send(choice.replicas[0], detail, now)
                sent.append((choice.replicas[0], detail))
    assert set(made.replicas) == there
    assert all(made.holders(f"v{number}") <= there for number in range(6))


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 12), st.integers(0, 9))
def test_equal_load_without_adapters_is_shared_evenly(replicas: int, seed: int) -> None:
    made = routing(*(f"r{number}" for number in range(replicas)), seed=seed)
    sent = Counter(route(made, Need()) for _ in range(replicas * 30))
    assert max(sent.values()) <= 40
    assert len(sent) == replicas
