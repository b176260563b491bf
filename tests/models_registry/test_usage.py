"""What teams used, on both databases: nothing is lost, and nothing is counted twice."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from models_registry.access import Access
from models_registry.architecture import Architecture
from models_registry.errors import Unavailable
from models_registry.records import PythonSource
from models_registry.registry import Registry
from models_registry.storage import stored_bytes
from models_registry.storage.database import Database
from models_registry.usage import Usage
from models_registry.usage_records import HOUR, UsageBatch, UsageCounts, UsageGroup, UsageQuestion, hour_of

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
ONE = UsageCounts(1, 2, 10, 4, 3, 0.5, 0.0, 0)
FAILED = UsageCounts(errors=1)


@pytest.fixture
def usage(database: Database) -> Usage:
    return Usage(database)


def group(hour: datetime = NOON, team: str = "default", **more: Any) -> UsageGroup:
    return UsageGroup(hour, team, **more)


def read(usage: Usage, *by: Any, **which: Any) -> dict[Any, UsageCounts]:
    return dict(usage.read(UsageQuestion(by, **which), NOON, "nobody", ()))


def total(usage: Usage) -> UsageCounts:
    return read(usage).get((), UsageCounts())


def test_batches_add_up_by_every_part(usage: Usage) -> None:
    usage.add("one", UsageBatch(1, {group(): ONE, group(team="fraud", key="k", model="m"): ONE}))
    usage.add("one", UsageBatch(2, {group(): FAILED, group(NOON + HOUR, adapter="a", version=3): ONE}))
    assert total(usage) == UsageCounts(3, 6, 30, 12, 9, 1.5, 0.0, 1)
    assert read(usage, "team") == {("default",): ONE + ONE + FAILED, ("fraud",): ONE}
    assert read(usage, "hour", "version") == {(NOON, 0): ONE + ONE + FAILED, (NOON + HOUR, 3): ONE}
    assert read(usage, "key", "model", "adapter") == {
        ("", "", ""): ONE + FAILED,
        ("k", "m", ""): ONE,
        ("", "", "a"): ONE,
    }


def test_hours_are_read_that_lie_in_part_between_two_times(usage: Usage) -> None:
    usage.add("one", UsageBatch(1, {group(NOON + hours * HOUR): ONE for hours in range(4)}))
    half = timedelta(minutes=30)
    assert set(read(usage, "hour", since=NOON + HOUR, until=NOON + 2 * HOUR)) == {(NOON + HOUR,)}
    assert set(read(usage, "hour", since=NOON + HOUR + half)) == {(NOON + HOUR * n,) for n in (1, 2, 3)}
    assert set(read(usage, "hour", until=NOON + half)) == {(NOON,)}


def test_one_team_or_one_key_can_be_read_alone(usage: Usage) -> None:
    usage.add("one", UsageBatch(1, {group(team="a", key="k"): ONE, group(team="a"): ONE, group(team="b"): ONE}))
    assert read(usage, "team", team="a") == {("a",): ONE + ONE}
    assert read(usage, team="a", key="k") == {(): ONE}


def test_a_batch_that_is_added_again_counts_once(usage: Usage) -> None:
    for _ in range(2):
        usage.add("one", UsageBatch(1, {group(): ONE}))
    usage.add("other", UsageBatch(1, {group(): ONE}))
    assert total(usage) == ONE + ONE


def fail_at(what: str) -> Callable[[], None]:
    """Let the next commit, or what comes right after it, fail once. Returns what ends this."""

    def fail(_: Connection) -> None:
        stop()
        raise Unavailable("the database is away")

    def stop() -> None:
        if event.contains(Engine, what, fail):
            event.remove(Engine, what, fail)

    event.listen(Engine, what, fail)
    return stop


def test_a_batch_that_failed_before_its_commit_changed_nothing(usage: Usage) -> None:
    stop = fail_at("commit")
    with pytest.raises(Unavailable):
        usage.add("one", UsageBatch(1, {group(): ONE}))
    stop()
    assert total(usage) == UsageCounts()
    usage.add("one", UsageBatch(1, {group(): ONE}))
    assert total(usage) == ONE


def test_what_a_process_holds_is_read_once_whether_it_was_added_or_not(usage: Usage) -> None:
    first, second = UsageBatch(1, {group(): ONE}), UsageBatch(2, {group(team="b"): ONE})
    usage.add("one", first)
    held = usage.read(UsageQuestion(("team",)), NOON, "one", (first, second))
    assert held == {("default",): ONE, ("b",): ONE}
    assert usage.read(UsageQuestion((), team="b"), NOON, "one", (first, second)) == {(): ONE}


def test_processes_that_add_to_the_same_rows_lose_nothing(usage: Usage) -> None:
    groups = [group(team=team, model=model) for team in "abc" for model in "xyz"]

    def add(process: str) -> None:
        for number in range(1, 11):
            order = groups if number % 2 else groups[::-1]
            usage.add(process, UsageBatch(number, dict.fromkeys(order, ONE)))

    threads = [threading.Thread(target=add, args=(f"p{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert total(usage).requests == 4 * 10 * len(groups)


def test_what_is_too_old_is_forgotten(usage: Usage) -> None:
    usage.add("one", UsageBatch(1, {group(NOON - HOUR): ONE, group(): ONE}))
    usage.forget(NOON)
    assert read(usage, "hour") == {(NOON,): ONE}


# ---- stored bytes -----------------------------------------------------------------------------------------------


@pytest.fixture
def version_bytes(registry: Registry, access: Access) -> int:
    """Of `fraud:tone@1`, which was stored at noon."""
    access.add_team("fraud")
    registry.register_base_model("m", PythonSource("bases:mlp"))
    registry.record_built("m", Architecture((), "f" * 64, 1, 4))
    return store(registry)


def store(registry: Registry) -> int:
    content: dict[str, Any] = {"config": {}, "weights": b"x" * 1000, "parameters": 1, "targets": [], "metadata": {}}
    return registry.create_adapter("m", "fraud:tone", method="LORA", **content).bytes


def byte_hours(usage: Usage, now: datetime, **which: Any) -> dict[Any, float]:
    sums = usage.read(UsageQuestion(("team", "model", "adapter", "version"), **which), now, "nobody", ())
    return {place: counts.byte_hours for place, counts in sums.items()}


def test_stored_bytes_are_counted_until_now_by_their_owner(
    registry: Registry, usage: Usage, version_bytes: int
) -> None:
    made_at = registry.find_adapter("fraud:tone").versions[0].created_at
    usage.record_stored(made_at)
    place = ("fraud", "m", "fraud:tone", 1)
    now = made_at + timedelta(minutes=90)
    assert byte_hours(usage, now) == {place: pytest.approx(1.5 * version_bytes)}
    assert byte_hours(usage, now, team="fraud") == {place: pytest.approx(1.5 * version_bytes)}
    assert byte_hours(usage, now, team="search") == {}


def test_hours_that_have_passed_are_recorded_once(registry: Registry, usage: Usage, version_bytes: int) -> None:
    made_at = registry.find_adapter("fraud:tone").versions[0].created_at
    usage.record_stored(made_at)
    later = made_at + timedelta(days=2, minutes=30)
    assert not usage.record_stored(later)  # at most a day at a time
    while not usage.record_stored(later):
        pass
    assert usage.record_stored(later)
    (counted,) = byte_hours(usage, later).values()
    assert counted == pytest.approx(48.5 * version_bytes)
    until = hour_of(made_at) + HOUR
    (first,) = byte_hours(usage, later, until=until).values()
    assert first == pytest.approx((until - made_at) / HOUR * version_bytes)


def test_what_is_removed_was_stored_until_then(
    registry: Registry, usage: Usage, version_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_at = registry.find_adapter("fraud:tone").versions[0].created_at
    usage.record_stored(made_at)

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return made_at + timedelta(minutes=90)

    with monkeypatch.context() as patch:
        patch.setattr(stored_bytes, "datetime", Later)
        registry.remove_adapter("fraud:tone")
    later = made_at + timedelta(hours=5)
    usage.record_stored(later)
    (counted,) = byte_hours(usage, later).values()
    assert counted == pytest.approx(1.5 * version_bytes)


def test_what_was_stored_before_anybody_counted_is_not_charged(
    registry: Registry, usage: Usage, version_bytes: int
) -> None:
    made_at = registry.find_adapter("fraud:tone").versions[0].created_at
    began = hour_of(made_at) + 10 * HOUR
    usage.record_stored(began)
    (counted,) = byte_hours(usage, began + HOUR).values()
    assert counted == pytest.approx(version_bytes)
