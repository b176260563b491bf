"""Latencies in bounded histograms."""

from collections import Counter

import pytest

from models_registry.alias_counters import BOUNDS_S, latency_name, percentile


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_a_percentile_is_at_most_a_quarter_too_many(share: float) -> None:
    latencies = [0.001 * step for step in range(1, 1001)]
    counts = Counter(latency_name("latency", latency) for latency in latencies)
    found = percentile(counts, "latency", share)
    assert found is not None
    assert share <= found <= share * 1.25


def test_what_takes_longer_than_the_last_bound_is_counted_to_it() -> None:
    assert percentile({latency_name("theirs", 1e6): 1}, "theirs", 0.5) == BOUNDS_S[-1]


def test_without_latencies_there_is_no_percentile() -> None:
    assert percentile({latency_name("theirs", 1.0): 1, "answered": 1}, "latency", 0.5) is None
