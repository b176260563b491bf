"""The simulation of a fleet: small runs of what `make bench ARGS=fleet` shows."""

from dataclasses import replace

import pytest

from tests.bench.fleet import SMALL, Fleet, simulate

FEW = replace(SMALL, requests=6_000)


def test_nine_tenths_are_warm_where_each_replica_has_room_for_a_quarter() -> None:
    assert simulate(SMALL, "warm").warm >= 0.9
    assert simulate(FEW, "random").warm <= 0.3


@pytest.mark.parametrize("policy", ["random", "least loaded", "bounded hashing"])
def test_more_is_warm_than_by_other_ways_while_replicas_die(policy: str) -> None:
    fleet = Fleet(10, 2_000, 30, requests=15_000, fronts=2, dies_every_s=4.0, history_s=0.0)
    ours, other = simulate(fleet, "warm"), simulate(fleet, policy)
    assert ours.retried > 0
    assert ours.warm > other.warm


def test_a_seed_always_gives_the_same_figures() -> None:
    fleet = replace(FEW, requests=1_000)
    assert simulate(fleet, "warm", seed=3) == simulate(fleet, "warm", seed=3)
