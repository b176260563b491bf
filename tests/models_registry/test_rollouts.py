"""Which version of a split alias answers a request, and what of a split is refused."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from models_registry.records import Adapter, AdapterVersion, Rollout
from models_registry.rollouts import draw_version, faults_of, is_split, main_version, place_of

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def version(number: int) -> AdapterVersion:
    return AdapterVersion("tone", "m", number, "LORA", {}, "00", 1, 1, ("first",), {}, "00", NOW)


def tone(rollout: Rollout) -> Adapter:
    versions = tuple(map(version, (1, 3, 4)))
    return Adapter("tone", "m", NOW, versions, {"prod": main_version(rollout)}, rollouts={"prod": rollout})


def drawn(shares: Mapping[int, float], keys: range) -> list[int]:
    adapter = tone(Rollout(shares))
    return [draw_version(adapter, "tone@prod", f"user-{key}").version for key in keys]


def test_a_requests_place_is_what_the_documentation_says() -> None:
    # printf 'version\0tone\0prod\0user-1' | sha256sum | head -c 16
    assert place_of("user-1", "tone", "prod") == 0xFD6517F49A0F41D5 / 2**64


def test_shares_are_met() -> None:
    counts = Counter(drawn({3: 0.7, 4: 0.3}, range(10_000)))
    assert set(counts) == {3, 4}
    assert 0.28 < counts[4] / 10_000 < 0.32


def test_who_has_the_newer_version_keeps_it_when_its_share_grows() -> None:
    before, after = (drawn({3: 1 - share, 4: share}, range(1000)) for share in (0.1, 0.3))
    assert {(old, new) for old, new in zip(before, after, strict=True)} == {(3, 3), (3, 4), (4, 4)}


def test_a_version_with_no_share_answers_nothing() -> None:
    assert set(drawn({1: 0.0, 3: 1.0, 4: 0.0}, range(1000))) == {3}


def test_other_adapters_and_aliases_draw_on_their_own() -> None:
    places = {place_of("user-1", *names) for names in (("tone", "prod"), ("tone", "canary"), ("style", "prod"))}
    assert len(places) == 3


def test_only_an_alias_with_several_versions_is_split() -> None:
    assert is_split(tone(Rollout({3: 0.5, 4: 0.5})), "tone@prod")
    assert not is_split(tone(Rollout({3: 1.0, 4: 0.0})), "tone@prod")
    assert not is_split(tone(Rollout({3: 0.5, 4: 0.5})), "tone@3")
    assert not is_split(tone(Rollout({3: 0.5, 4: 0.5})), "tone")


def test_of_equal_shares_the_older_version_is_the_main_one() -> None:
    assert main_version(Rollout({4: 0.5, 3: 0.5})) == 3


def test_all_that_is_wrong_is_told_at_once() -> None:
    adapter = tone(Rollout({3: 1.0, 4: 0.0}))
    faults = list(faults_of(Rollout({3: -0.5, 9: 1.2}, shadow=3, shadow_share=0.0), adapter))
    assert [fault.loc for fault in faults] == [
        ("versions", "3"),
        ("versions", "9"),
        ("versions", "9"),
        ("versions",),
        ("shadow",),
        ("shadow_share",),
    ]


@pytest.mark.parametrize("rollout", [Rollout({1: 1 / 3, 3: 1 / 3, 4: 1 / 3}), Rollout({3: 1.0}, 4, 1.0)])
def test_shares_may_be_rounded(rollout: Rollout) -> None:
    assert list(faults_of(rollout, tone(Rollout({3: 1.0})))) == []
