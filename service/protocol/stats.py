"""What an operator watches of a base model: frozen values, read when somebody asks. Nothing of Prometheus."""

from bisect import bisect_left
from dataclasses import dataclass

BOUNDS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


@dataclass(frozen=True, slots=True)
class SizeStats:
    """`counts[n]` of the sizes were above `BOUNDS[n - 1]` and at most `BOUNDS[n]`, the last ones above all bounds."""

    counts: tuple[int, ...]
    sum: int


class Sizes:
    """Counts sizes. One thread records, any thread reads."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._sum = 0

    def record(self, size: int) -> None:
        self._counts[bisect_left(BOUNDS, size)] += 1
        self._sum += size

    @property
    def stats(self) -> SizeStats:
        return SizeStats(tuple(self._counts), self._sum)


@dataclass(frozen=True, slots=True)
class QueueStats:
    """Requests that wait, those whose inputs are being read among them, and the rows that are ready; how many requests
    were refused so far because the queue was full."""

    requests: int
    rows: int
    refused: int


@dataclass(frozen=True, slots=True)
class AdapterStats:
    """Versions in memory and their bytes, those of the pinned ones apart; how often one was loaded, was evicted for
    others, or failed to load. Of the requests that named any, the warm ones found all theirs in memory."""

    staged: int
    resident: int
    pinned: int
    bytes: int
    pinned_bytes: int
    max_bytes: int
    loads: int
    evictions: int
    failures: int
    warm_requests: int = 0
    cold_requests: int = 0


@dataclass(frozen=True, slots=True)
class TextStats:
    """Texts that are `running`, written token by token, and how often one gave its memory back and was computed again;
    tokens that were drawn, tokens of prompts that were begun and, of these, those that were in memory already; what
    keys and values take and may take there, and what the copies of adapters that they share do."""

    running: int = 0
    recomputed: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    cache_bytes: int = 0
    max_cache_bytes: int = 0
    copied_bytes: int = 0
    max_copied_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ReplicaStats:
    """One of several processes that run a model, on the machine `node`: requests that wait there, texts that are
    written, versions that are resident and their bytes, how many are pinned."""

    name: str
    node: str
    pid: int
    rss_bytes: int
    age_s: float
    waiting: int
    texts: int
    resident: int
    bytes: int
    pinned: int


@dataclass(frozen=True, slots=True)
class HostStats:
    """Since the model was loaded; `rows` and `adapters` are those that shared a forward, the base not counted.
    `replicas` are there where several processes, or one on another machine, run the model."""

    queue: QueueStats
    adapters: AdapterStats
    merged_bytes: int
    max_merged_bytes: int
    rows_per_forward: SizeStats
    adapters_per_forward: SizeStats
    texts: TextStats = TextStats()
    replicas: tuple[ReplicaStats, ...] = ()


@dataclass(frozen=True, slots=True)
class ProcessStats:
    """A host's own process: its number, its resident memory (what it shares with others included), its age."""

    pid: int
    rss_bytes: int
    age_s: float
