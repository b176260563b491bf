"""One story in which every statement that the service sends to its database is sent: the registry with its base models,
adapters, aliases and events, access, usage, limits and a backup's rows."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from registering import ARCHITECTURE, OTHER_WEIGHTS, SOURCE, content

from models_registry.access import Access
from models_registry.adapter_searches import AdapterSearch, PlaceInList, Span
from models_registry.alias_counters import AliasCounter
from models_registry.authors import Author, authored_by
from models_registry.errors import Conflict, LimitReached
from models_registry.event_records import EventFilter, Refusal
from models_registry.label_selectors import Requirement
from models_registry.records import Key, Once, ReplicaResources, Rollout
from models_registry.registry import Registry
from models_registry.storage.blobs import open_blob_store
from models_registry.storage.database import Database
from models_registry.storage.row_dump import dump_rows
from models_registry.team_spending import TeamSpending
from models_registry.teams import TeamLimits, TeamSpent
from models_registry.usage import Usage
from models_registry.usage_records import PARTS, UsageBatch, UsageCounts, UsageGroup, UsageQuestion, hour_of

NOW = datetime(2030, 1, 2, 3, tzinfo=UTC)
LIMITS = TeamLimits(adapters=2, stored_bytes=100, requests_per_minute=60, tokens_per_minute=600)


def live_through(database: Database, directory: Path) -> None:
    """On an empty database. `directory` is for blobs."""
    registry, access = Registry(database, open_blob_store(f"file:{directory}")), Access(database)
    with authored_by(Author("k1", "k1", "192.0.2.1", "r1", "a try")):
        _teams_and_keys(access)
        _base_models(registry)
        _adapters(registry)
        _limited_adapters(registry, access)
        _aliases(registry)
        _lists(registry)
        _usage(Usage(database))
        _limits(database)
        with database.read() as session:
            list(dump_rows(session))
        _removals(registry)
        _removed_team(access)


def _teams_and_keys(access: Access) -> None:
    access.add_team("fraud", LIMITS)
    access.add_team("risk")
    access.limit_team("risk", TeamLimits(rows_in_flight=8))
    access.add_key(Key("k1", "d" * 64, "ci", "fraud", "publisher", NOW, "k0", ("base",), ("tone",)))
    access.note_uses({"k1": NOW})
    access.revoke_key("k1")
    access.add_refusals([Refusal(NOW, Author("k1"), "fraud", "DELETE /adapters/tone", 403)], 3)
    access.find_team("risk")
    access.list_teams(10)
    access.list_teams(10, "fraud")
    access.team_names()
    access.limited_teams()
    access.list_keys()


def _removed_team(access: Access) -> None:
    access.add_team("leaving")
    access.add_key(Key("k2", "e" * 64, "ci", "leaving", "caller", NOW))
    with pytest.raises(Conflict):
        access.remove_team("leaving")
    access.revoke_key("k2")
    access.remove_team("leaving")


def _base_models(registry: Registry) -> None:
    once = Once("default:model", "1" * 64)
    registry.register_base_model("base", SOURCE, once=once, dtype="float32", num_labels=2, example_inputs={"x": [1]})
    registry.record_failure("base", "no memory")
    made = registry.record_built("base", ARCHITECTURE)
    with pytest.raises(Conflict):
        registry.record_built("base", OTHER_WEIGHTS)
    registry.find_registered(once)
    registry.set_hosted("base", False)
    registry.change_base_model("base", {"teams": ["fraud"], "resources": ReplicaResources()})
    registry.change_base_model("base", {"teams": None, "resources": None})
    registry.find_architecture(made.id)
    withdrawn = registry.register_base_model("withdrawn", SOURCE, once=Once("default:other", "2" * 64), teams=["risk"])
    registry.withdraw_base_model(withdrawn, Once("default:other", "2" * 64))
    failed = registry.register_base_model("failed", SOURCE)
    registry.record_failure("failed", "no such file", failed.created_at)
    registry.register_base_model("failed", SOURCE, replacing=failed.created_at)
    registry.find_base_model("failed")
    registry.list_base_models(10)
    registry.list_base_models(10, "base", ["failed", "base"], ["base"])


def _adapters(registry: Registry) -> None:
    once = Once("default:adapter", "3" * 64)
    registry.create_adapter("base", "tone", once=once, warnings=["odd"], labels={"stage": "new"}, **content(b"one"))
    registry.find_created(once)
    newest = registry.add_version("tone", once=Once("default:version", "4" * 64), **content(b"two"))
    registry.plan_version("tone", **content(b"two"))
    registry.add_if_changed("tone", if_match=[newest.digest], **content(b"two"))
    registry.add_if_changed("tone", **content(b"three"))
    registry.describe_adapter(
        "tone", {"visibility": "shared", "description": "polite", "owner": "Ada", "labels": {"use": "mail"}}
    )
    registry.label_version("tone", 1, {"stage": "old"})
    registry.note_uses({"tone": NOW, "gone": NOW})
    registry.find_adapter("tone")
    registry.resolve("tone@2")
    registry.mark_damaged(newest.digest)
    registry.find_adapter("tone")
    registry.mark_sound(newest.digest)
    registry.mark_damaged(newest.digest)
    registry.add_if_changed("tone", **content(b"two"))
    registry.is_referenced(newest.digest)
    registry.referenced_digests()


def _limited_adapters(registry: Registry, access: Access) -> None:
    registry.create_adapter("base", "fraud:score", **content(b"a" * 60))
    registry.create_adapter("base", "fraud:copy", **content(b"a" * 60))
    with pytest.raises(LimitReached):
        registry.add_version("fraud:copy", **content(b"b" * 60))
    with pytest.raises(LimitReached):
        registry.create_adapter("base", "fraud:third", **content(b"a" * 60))
    access.stored_use("fraud")


def _aliases(registry: Registry) -> None:
    registry.move_alias("tone", "prod", 1, reason="first")
    registry.move_alias("tone", "prod", Rollout({1: 0.9, 2: 0.1}, 3, 0.5))
    registry.roll_back_alias("tone", "prod")
    registry.move_alias("tone", "prod", Rollout({1: 0.9, 2: 0.1}, 3, 0.5))
    registry.move_alias("tone", "test", 2)
    counter = AliasCounter("tone", "prod", 1, 0, "answered")
    registry.add_alias_counts({counter: 3})
    registry.add_alias_counts({counter: 4, AliasCounter("gone", "prod", 1, 0, "answered"): 1})
    registry.read_alias_counts("tone", "prod")


def _lists(registry: Registry) -> None:
    before = registry.snapshot()
    registry.snapshot(before)
    registry.label_version("tone", 2, {"stage": "new"})
    registry.mark_damaged(registry.resolve("tone@3").digest)
    registry.snapshot(before)
    registry.generation()
    span = Span(NOW - timedelta(days=9999), NOW + timedelta(days=9999))
    labels = (
        Requirement("use", frozenset({"mail"})),
        Requirement("use", None),
        Requirement("use", frozenset({"post"}), negated=True),
    )
    everything = AdapterSearch(
        "base", "LORA", "default", "TON", labels, span, span, "fraud", ("tone",), ("base",), ("failed",)
    )
    for search in (everything, AdapterSearch(sort="created", descending=True), AdapterSearch(sort="used", used=span)):
        registry.search_adapters(search, 10)
        registry.search_adapters(search, 10, PlaceInList("a", NOW))
        registry.count_adapters(search)
    registry.list_adapters(10, "a", "base")
    chosen = EventFilter("fraud", ("base",), ("failed",), "fraud", "tone", "adapter", "k1", NOW, NOW)
    for events in (EventFilter(), chosen, EventFilter(kind="adapter.created")):
        registry.list_events(10, 1, events)
        registry.newest_events(10, None, events)
        registry.newest_events(10, 5, events)


def _usage(usage: Usage) -> None:
    group = UsageGroup(hour_of(NOW), "fraud", "k1", "base", "tone", 1)
    batch = UsageBatch(1, {group: UsageCounts(1, 2, 3, 0, 5, 0.5)})
    for _ in range(2):
        usage.add("process", batch)
    usage.add("process", UsageBatch(2, batch.counts))
    now = datetime.now(UTC)
    for hours in (0, 2):
        usage.record_stored(now + timedelta(hours=hours))
    usage.read(UsageQuestion(), now, "process", [])
    usage.read(UsageQuestion(PARTS, NOW, NOW + timedelta(hours=9), "fraud", "k1"), now, "process", [batch])
    usage.forget(NOW - timedelta(days=1))


def _limits(database: Database) -> None:
    for moment in (NOW, NOW + timedelta(seconds=1)):
        spending = TeamSpending(database, lambda moment=moment: moment)
        spending.exchange({"fraud": TeamSpent(LIMITS)})
        spending.exchange({"fraud": TeamSpent(LIMITS, 1, 10, 2, 1), "risk": TeamSpent(LIMITS, 1)})


def _removals(registry: Registry) -> None:
    registry.remove_version("tone", 3)
    registry.remove_version("tone", 2, with_aliases=True)
    registry.move_alias("tone", "last", 1)
    registry.remove_alias("tone", "last")
    registry.remove_adapter("tone", with_aliases=True)
    with pytest.raises(Conflict):
        registry.remove_base_model("base")
    registry.remove_base_model("base", cascade=True)
