"""What a replica tells routers."""

from service.cluster.replica_view import TAIL
from service.cluster.routing_report import MOST, ROOM, report_of, routing_stats
from service.protocol.stats import AdapterStats, HostStats, QueueStats, Sizes, TextStats
from service.protocol.types import HostStatus


def status(resident: tuple[str, ...], *, taken: int = 0, most: int = 100, rows: int = 0, texts: int = 0) -> HostStatus:
    adapters = AdapterStats(0, len(resident), 0, taken, 0, most, 0, 0, 0)
    sizes = Sizes().stats
    stats = HostStats(QueueStats(0, rows, 0), adapters, 0, 0, sizes, sizes, TextStats(running=texts))
    return HostStatus(resident, {}, frozenset(), (), True, stats)


def test_the_load_is_rows_that_wait_and_texts_that_run() -> None:
    report = report_of(routing_stats(status(("a@1",), taken=10, rows=3, texts=2), 1, 64))
    assert (report.resident, report.load, report.capacity) == (("a@1",), 5, 64)


def test_the_room_is_counted_in_adapters_like_those_in_memory() -> None:
    assert report_of(routing_stats(status(("a@1", "b@1"), taken=40), 1, 64)).room == 3
    assert report_of(routing_stats(status(()), 1, 64)).room == ROOM


def test_of_very_many_those_used_last_and_the_first_to_go_are_named() -> None:
    resident = tuple(f"a{number}@1" for number in range(2 * MOST))
    named = report_of(routing_stats(status(resident, taken=1), 1, 64)).resident
    assert len(named) == MOST
    assert (named[:TAIL], named[-1]) == (resident[:TAIL], resident[-1])
