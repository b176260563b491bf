"""What is counted reaches the database once, however often that fails, and never before a request's answer."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from models_registry.errors import Unavailable
from models_registry.storage.database import Database
from models_registry.usage import Usage
from models_registry.usage_records import UsageBatch, UsageCounts, UsageGroup, UsageQuestion, hour_of
from service.front.access.caller import SERVICE
from service.front.services import usage_flusher, usage_meter
from service.front.services.usage import UsageReports
from service.front.services.usage_flusher import UsageFlusher
from service.front.services.usage_meter import UsageMeter

HOUR = hour_of(datetime.now(UTC))
MINE = UsageGroup(HOUR, "default")
ONE = UsageCounts(requests=1, rows=2)
YEAR = timedelta(days=365)


class Troubled(Usage):
    """Calls `before` and `after` it has added a batch; each may raise."""

    before: Callable[[], None] = staticmethod(lambda: None)
    after: Callable[[], None] = staticmethod(lambda: None)

    def add(self, process: str, batch: UsageBatch) -> None:
        self.before()
        super().add(process, batch)
        self.after()


def away() -> None:
    raise Unavailable("the database is away")


@pytest.fixture
def usage(database: Database) -> Troubled:
    return Troubled(database)


@pytest.fixture
def meter() -> UsageMeter:
    return UsageMeter()


@pytest.fixture
def flusher(meter: UsageMeter, usage: Troubled, monkeypatch: pytest.MonkeyPatch) -> UsageFlusher:
    monkeypatch.setattr(usage_flusher, "PERIOD_S", 0.01)
    return UsageFlusher(meter, usage, YEAR)


def stored(usage: Usage) -> UsageCounts:
    return usage.read(UsageQuestion(), HOUR, "nobody", ()).get((), UsageCounts())


def told(usage: Usage, meter: UsageMeter) -> UsageCounts:
    return UsageReports(usage, meter).report(SERVICE, (), None, None).get((), UsageCounts())


def test_counts_are_reported_at_once_and_stored_later(
    usage: Troubled, meter: UsageMeter, flusher: UsageFlusher
) -> None:
    meter.add(MINE, ONE)
    assert (told(usage, meter), stored(usage)) == (ONE, UsageCounts())
    flusher.flush()
    assert (told(usage, meter), stored(usage)) == (ONE, ONE)


def test_counts_wait_while_the_database_is_away(usage: Troubled, meter: UsageMeter, flusher: UsageFlusher) -> None:
    usage.before = away
    for _ in range(3):
        meter.add(MINE, ONE)
        with pytest.raises(Unavailable):
            flusher.flush()
    assert told(usage, meter) == ONE + ONE + ONE
    del usage.before
    flusher.flush()
    assert stored(usage) == told(usage, meter) == ONE + ONE + ONE


def test_a_commit_whose_outcome_is_unknown_counts_once(
    usage: Troubled, meter: UsageMeter, flusher: UsageFlusher
) -> None:
    usage.after = away  # it was committed, but nobody has heard of it
    meter.add(MINE, ONE)
    with pytest.raises(Unavailable):
        flusher.flush()
    meter.add(MINE, ONE)
    assert told(usage, meter) == ONE + ONE
    del usage.after
    flusher.flush()
    assert stored(usage) == told(usage, meter) == ONE + ONE


def test_the_end_adds_what_was_counted_last(usage: Troubled, meter: UsageMeter, flusher: UsageFlusher) -> None:
    flusher.start()
    for _ in range(5):
        meter.add(MINE, ONE)
    flusher.stop()
    assert stored(usage).requests == 5


def test_the_end_says_what_is_lost(
    usage: Troubled, meter: UsageMeter, flusher: UsageFlusher, caplog: pytest.LogCaptureFixture
) -> None:
    usage.before = away
    flusher.start()
    meter.add(MINE, ONE + ONE)
    flusher.stop()
    assert "usage of 2 calls is lost" in caplog.text


def test_two_processes_add_to_the_same_rows(usage: Troubled, meter: UsageMeter, flusher: UsageFlusher) -> None:
    other = UsageMeter()
    for counted in (meter, other, meter):
        counted.add(MINE, ONE)
    flusher.flush()
    UsageFlusher(other, usage, YEAR).flush()
    assert stored(usage).requests == 3
    assert told(usage, meter) == told(usage, other)


def test_memory_is_bounded_and_counts_are_kept(meter: UsageMeter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_meter, "MOST_GROUPS", 3)
    for hours in range(50):
        for team in "abc":
            meter.add(UsageGroup(HOUR + timedelta(hours=hours), team), ONE)
    (batch,) = meter.held
    assert len(batch.counts) == 3
    assert sum(counts.requests for counts in batch.counts.values()) == 150
