"""Adapters by what is known of them, on each database."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from registering import build, content

from models_registry.access import Access
from models_registry.adapter_searches import AdapterSearch, Span
from models_registry.label_selectors import read_selector
from models_registry.registry import Registry

USED = datetime(2030, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def filled(registry: Registry, access: Access) -> Registry:
    """`a` and `b` on `base`, `c` on `other`, `fraud:d` on `base`."""
    access.add_team("fraud")
    build(registry)
    build(registry, "other")
    for name in ("a", "b", "fraud:d"):
        registry.create_adapter("base", name, **content())
    registry.create_adapter("other", "c", **content(method="IA3"))
    registry.add_version("a", **content(b"more", method="ADALORA"))
    registry.describe_adapter("a", {"labels": {"stage": "prod", "lang": "de"}, "description": "100% Pirate_like"})
    registry.describe_adapter("b", {"labels": {"stage": "canary", 'odd."key': "x"}})
    registry.describe_adapter("c", {"labels": {"stage": "prod", "empty": ""}})
    registry.note_uses({"a": USED, "c": USED + timedelta(hours=1), "gone": USED})
    return registry


def names(registry: Registry, search: AdapterSearch) -> list[str]:
    """All pages' names, which are as many as are counted."""
    found: list[str] = []
    place = None
    while page := registry.search_adapters(search, 1, place):
        found += [one.adapter.name for one in page]
        place = page[-1].place(search.sort)
    assert registry.count_adapters(search) == len(found)
    assert [one.adapter.name for one in registry.search_adapters(search, 10)] == found
    return found


BY_LABELS = [
    ("stage=prod", ["a", "c"]),
    ("stage=prod,lang=de", ["a"]),
    ("stage in (prod,canary)", ["a", "b", "c"]),
    ("stage!=prod", ["b", "fraud:d"]),
    ("stage notin (prod,canary)", ["fraud:d"]),
    ("stage", ["a", "b", "c"]),
    ("!stage", ["fraud:d"]),
    ("empty=", ["c"]),
    ("empty,!lang", ["c"]),
]


def test_labels_select_adapters_in_the_database(filled: Registry) -> None:
    for selector, found in BY_LABELS:
        assert names(filled, AdapterSearch(labels=read_selector(selector))) == found


BY_OTHERS = [
    (AdapterSearch(), ["a", "b", "c", "fraud:d"]),
    (AdapterSearch(model="base"), ["a", "b", "fraud:d"]),
    (AdapterSearch(method="ADALORA"), ["a"]),
    (AdapterSearch(method="LORA"), ["b", "fraud:d"]),
    (AdapterSearch(team="fraud"), ["fraud:d"]),
    (AdapterSearch(team="default"), ["a", "b", "c"]),
    (AdapterSearch(seen_by="fraud"), ["fraud:d"]),
    (AdapterSearch(among=("a", "c", "z")), ["a", "c"]),
    (AdapterSearch(text="PIRATE_"), ["a"]),
    (AdapterSearch(text="0% p"), ["a"]),
    (AdapterSearch(text="%"), ["a"]),
    (AdapterSearch(text="D"), ["fraud:d"]),
    (AdapterSearch(text="fraud"), []),
    (AdapterSearch(text="_"), ["a"]),
    (AdapterSearch(model="base", labels=read_selector("stage=prod"), text="a"), ["a"]),
]


def test_each_filter_finds_what_it_says(filled: Registry) -> None:
    for search, found in BY_OTHERS:
        assert names(filled, search) == found


BY_USE = [
    (Span(after=USED), ["a", "c"]),
    (Span(after=USED + timedelta(microseconds=1)), ["c"]),
    (Span(before=USED + timedelta(hours=1)), ["a"]),
    (Span(before=USED), []),
    (Span(USED, USED + timedelta(hours=1)), ["a"]),
]


def test_a_time_of_use_is_in_a_span_up_to_its_end(filled: Registry) -> None:
    for used, found in BY_USE:
        assert names(filled, AdapterSearch(used=used)) == found


def test_a_time_of_creation_is_in_a_span_up_to_its_end(filled: Registry) -> None:
    created = filled.find_adapter("b").created_at
    assert "b" in names(filled, AdapterSearch(created=Span(after=created)))
    assert "a" not in names(filled, AdapterSearch(created=Span(after=created)))
    assert names(filled, AdapterSearch(created=Span(before=created))) == ["a"]


SORTED = [
    (AdapterSearch(sort="name"), ["a", "b", "c", "fraud:d"]),
    (AdapterSearch(sort="created"), ["a", "b", "fraud:d", "c"]),
    (AdapterSearch(sort="used"), ["b", "fraud:d", "a", "c"]),  # never used first, by name
]


def test_a_list_is_sorted_over_its_pages(filled: Registry) -> None:
    for search, found in SORTED:
        assert names(filled, search) == found
        backward = names(filled, replace(search, descending=True))
        assert backward == (["c", "a", "b", "fraud:d"] if search.sort == "used" else found[::-1])


def test_an_earlier_use_that_is_told_later_changes_nothing(filled: Registry) -> None:
    filled.note_uses({"c": USED})
    found = {one.adapter.name: one.last_used_at for one in filled.search_adapters(AdapterSearch(), 10)}
    assert found == {"a": USED, "b": None, "c": USED + timedelta(hours=1), "fraud:d": None}


def test_uses_are_no_change_of_the_registry(filled: Registry) -> None:
    before = filled.generation()
    filled.note_uses({"b": USED})
    assert filled.generation() == before


def test_a_versions_labels_are_kept_and_their_change_is_told(filled: Registry) -> None:
    before = filled.snapshot()
    labelled = filled.label_version("a", 1, {"stage": "old"})
    filled.label_version("a", 1, {"stage": "old"})  # as it is already: no event
    assert filled.find_adapter("a").versions[0] == labelled
    assert filled.snapshot(before).adapters["a"].versions[0].labels == {"stage": "old"}
    told = [event for event in filled.list_events(100) if event.kind == "version.described"]
    assert [(event.subject, event.detail) for event in told] == [("a@1", {"before": {}, "after": {"stage": "old"}})]
