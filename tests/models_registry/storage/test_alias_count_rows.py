"""Counters of aliases' requests, on each database."""

import pytest
from registering import build, content

from models_registry.alias_counters import AliasCounter
from models_registry.registry import Registry


def counter(alias: str = "prod", version: int = 1, against: int = 0, name: str = "answered") -> AliasCounter:
    return AliasCounter("tone", alias, version, against, name)


@pytest.fixture
def tone(registry: Registry) -> Registry:
    """Two versions, with the alias `prod` for the first."""
    build(registry)
    registry.create_adapter("base", "tone", **content())
    registry.add_version("tone", **content(b"more"))
    registry.move_alias("tone", "prod", 1)
    return registry


def test_counts_add_up(tone: Registry) -> None:
    before = tone.generation()
    tone.add_alias_counts({counter(): 2, counter(version=2, against=1, name="equal"): 1})
    tone.add_alias_counts({counter(): 3, counter(name="failed"): 1})
    assert tone.read_alias_counts("tone", "prod") == {
        counter(): 5,
        counter(name="failed"): 1,
        counter(version=2, against=1, name="equal"): 1,
    }
    assert tone.generation() == before


def test_what_is_added_to_an_alias_that_is_gone_is_left_out(tone: Registry) -> None:
    tone.add_alias_counts({counter(): 1, counter("gone"): 1})
    assert tone.read_alias_counts("tone", "gone") == {}
    assert tone.read_alias_counts("tone", "prod") == {counter(): 1}


def test_counts_go_with_their_version_alias_and_adapter(tone: Registry) -> None:
    tone.add_alias_counts({counter(): 1, counter(version=2, against=1, name="equal"): 1})
    tone.remove_version("tone", 2)
    assert tone.read_alias_counts("tone", "prod") == {counter(): 1}
    tone.remove_alias("tone", "prod")
    tone.move_alias("tone", "prod", 1)
    assert tone.read_alias_counts("tone", "prod") == {}
    tone.add_alias_counts({counter(): 1})
    tone.remove_adapter("tone", with_aliases=True)
    assert tone.read_alias_counts("tone", "prod") == {}
