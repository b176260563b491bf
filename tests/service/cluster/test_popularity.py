"""How often versions are asked for."""

import pytest

from service.cluster.popularity import Popularity


def test_a_count_halves_with_each_half_life() -> None:
    popularity = Popularity(half_life_s=10.0)
    for _ in range(4):
        popularity.record("tone", 0.0)
    assert popularity.of("tone", 20.0) == pytest.approx(1.0)


def test_a_share_is_of_all_requests() -> None:
    popularity = Popularity()
    for key in ("tone", "tone", "tone", "other"):
        for _ in range(10_000):
            popularity.record(key, 0.0)
    assert popularity.share("tone", 0.0) == pytest.approx(0.75, abs=0.001)


def test_a_first_request_says_little_about_a_share() -> None:
    popularity = Popularity()
    popularity.record("tone", 0.0)
    assert popularity.share("tone", 0.0) < 0.05


def test_what_was_never_asked_for_has_no_share() -> None:
    assert Popularity().share("tone", 5.0) == 0.0


def test_the_versions_asked_for_last_are_remembered() -> None:
    popularity = Popularity(most=10)
    for number in range(1000):
        popularity.record(f"v{number}", float(number))
    assert all(popularity.of(f"v{number}", 1000.0) > 0.9 for number in range(990, 1000))
    assert popularity.of("v0", 1000.0) == 0.0
