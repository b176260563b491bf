"""What several replicas of a base model have in memory, as one."""

from collections.abc import Sequence
from dataclasses import fields
from typing import TypeVar

from service.protocol.stats import AdapterStats, HostStats, QueueStats, SizeStats, TextStats
from service.protocol.types import HostStatus, Residency, VersionResidency

TIERS: tuple[Residency, ...] = ("stored", "staged", "resident")

C = TypeVar("C", QueueStats, AdapterStats, TextStats)


def joined_status(statuses: Sequence[HostStatus]) -> HostStatus:
    """Of at least one: numbers are added, a version is where one of the replicas has it nearest."""
    keys = dict.fromkeys(key for status in statuses for key in status.versions)
    return HostStatus(
        resident=tuple(dict.fromkeys(reference for status in statuses for reference in status.resident)),
        versions={
            key: _joined_residency([status.versions[key] for status in statuses if key in status.versions])
            for key in keys
        },
        inactive=frozenset().union(*(status.inactive for status in statuses)),
        warnings=tuple(dict.fromkeys(warning for status in statuses for warning in status.warnings)),
        is_probed=any(status.is_probed for status in statuses),
        stats=joined_stats([status.stats for status in statuses]),
    )


def joined_stats(stats: Sequence[HostStats]) -> HostStats:
    """The sums, of at least one."""
    return HostStats(
        queue=_added([one.queue for one in stats]),
        adapters=_added([one.adapters for one in stats]),
        merged_bytes=sum(one.merged_bytes for one in stats),
        max_merged_bytes=sum(one.max_merged_bytes for one in stats),
        rows_per_forward=_added_sizes([one.rows_per_forward for one in stats]),
        adapters_per_forward=_added_sizes([one.adapters_per_forward for one in stats]),
        texts=_added([one.texts for one in stats]),
        replicas=tuple(replica for one in stats for replica in one.replicas),
    )


def _joined_residency(residencies: Sequence[VersionResidency]) -> VersionResidency:
    used = [one.last_used_at for one in residencies if one.last_used_at is not None]
    took = [one.load_s for one in residencies if one.load_s is not None]
    return VersionResidency(
        tier=TIERS[max(TIERS.index(one.tier) for one in residencies)],
        pinned=any(one.pinned for one in residencies),
        in_flight=sum(one.in_flight for one in residencies),
        bytes=sum(one.bytes for one in residencies),
        last_used_at=max(used, default=None),
        load_s=max(took, default=None),
    )


def _added(counts: Sequence[C]) -> C:
    kind = type(counts[0])
    return kind(*(sum(getattr(one, field.name) for one in counts) for field in fields(kind)))


def _added_sizes(sizes: Sequence[SizeStats]) -> SizeStats:
    columns = zip(*(one.counts for one in sizes), strict=True)
    return SizeStats(tuple(map(sum, columns)), sum(one.sum for one in sizes))
