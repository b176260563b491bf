"""What a team may store, over each database: whatever makes a version counts, and nothing passes twice."""

from typing import Any

import pytest
from registering import at_once, build, content

from models_registry.access import Access
from models_registry.adapter_searches import AdapterSearch
from models_registry.errors import LimitReached, NotFound
from models_registry.records import AdapterVersion
from models_registry.registry import Registry
from models_registry.storage.blobs import BlobStore
from models_registry.storage.database import Database
from models_registry.teams import NO_LIMITS, StoredUse, TeamLimits


@pytest.fixture
def access(database: Database, registry: Registry) -> Access:
    build(registry)
    return Access(database)


def limit(access: Access, team: str = "fraud", **limits: Any) -> None:
    access.add_team(team, TeamLimits(**limits))


def test_a_team_has_at_most_so_many_adapters(access: Access, registry: Registry) -> None:
    limit(access, adapters=2)
    for name in ("fraud:a", "fraud:b"):
        registry.create_adapter("base", name, **content())
    with pytest.raises(LimitReached, match="has 2 adapters, and its limit `adapters` is 2"):
        registry.create_adapter("base", "fraud:c", **content())
    registry.create_adapter("base", "c", **content())
    registry.add_version("fraud:a", **content(b"more"))
    registry.remove_adapter("fraud:a")
    registry.create_adapter("base", "fraud:c", **content())


def test_a_team_stores_at_most_so_many_bytes(access: Access, registry: Registry, blobs: BlobStore) -> None:
    limit(access, stored_bytes=25)
    registry.create_adapter("base", "fraud:a", **content(b"1" * 10))
    registry.add_version("fraud:a", **content(b"2" * 10))
    kept = {blob.digest for blob in blobs.list_blobs()}
    for refused in (
        lambda: registry.create_adapter("base", "fraud:b", **content(b"3" * 6)),
        lambda: registry.add_version("fraud:a", **content(b"3" * 6)),
        lambda: registry.add_if_changed("fraud:a", **content(b"3" * 6)),
    ):
        with pytest.raises(LimitReached, match="has stored 20 bytes, and its limit `stored_bytes` is 25: 6 more"):
            refused()
    assert {blob.digest for blob in blobs.list_blobs()} == kept
    registry.add_if_changed("fraud:a", **content(b"3" * 5))
    assert access.stored_use("fraud") == StoredUse(1, 25)


def test_the_bytes_of_one_blob_count_once_in_a_team(access: Access, registry: Registry) -> None:
    limit(access, stored_bytes=10)
    for name in ("fraud:a", "fraud:b", "b"):
        registry.create_adapter("base", name, **content(b"1" * 10))
    assert access.stored_use("fraud") == StoredUse(2, 10)
    assert access.stored_use("default") == StoredUse(1, 10)
    assert access.stored_use("nobodys") == StoredUse(0, 0)


def test_of_many_at_once_no_more_pass_than_there_is_room_for(access: Access, registry: Registry) -> None:
    limit(access, adapters=3)
    answers = at_once(8, lambda n: registry.create_adapter("base", f"fraud:a{n}", **content(b"weights %d" % n)))
    assert sum(isinstance(answer, AdapterVersion) for answer in answers) == 3
    assert sum(isinstance(answer, LimitReached) for answer in answers) == 5


def test_limits_are_replaced_as_a_whole_and_their_changes_are_events(access: Access, registry: Registry) -> None:
    limit(access, adapters=3, resident_share=0.5)
    assert access.limited_teams() == {"fraud": TeamLimits(adapters=3, resident_share=0.5)}
    assert access.limit_team("fraud", TeamLimits(stored_bytes=7)).limits == TeamLimits(stored_bytes=7)
    assert access.find_team("fraud").limits == TeamLimits(stored_bytes=7)
    access.limit_team("fraud", NO_LIMITS)
    access.limit_team("fraud", NO_LIMITS)
    assert access.limited_teams() == {}
    changes = [event.detail for event in registry.list_events(100) if event.kind == "team.limited"]
    assert changes == [
        {"before": {"adapters": 3, "resident_share": 0.5}, "after": {"stored_bytes": 7}},
        {"before": {"stored_bytes": 7}, "after": {}},
    ]
    with pytest.raises(NotFound):
        access.limit_team("nobodys", NO_LIMITS)


def test_teams_whose_names_differ_in_case_are_two(access: Access, registry: Registry) -> None:
    limit(access, "fraud", adapters=1)
    access.add_team("Fraud")
    registry.create_adapter("base", "Fraud:a", **content())
    registry.create_adapter("base", "fraud:a", **content(b"other"))
    assert access.stored_use("fraud") == StoredUse(1, 5)
    found = registry.search_adapters(AdapterSearch(seen_by="Fraud"), 10)
    assert [one.adapter.name for one in found] == ["Fraud:a"]
