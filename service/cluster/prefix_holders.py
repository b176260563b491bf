"""Which replicas have computed a prompt's beginning lately, as far as this front sent it there."""

from collections.abc import Sequence

MOST = 50_000
COPIES = 4


class PrefixHolders:
    """Remembers at least the `most` prefixes that were sent last, and at most twice as many; of each, the last few
    replicas. Their keys and values may have been evicted since: this is a guess."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._young: dict[str, tuple[str, ...]] = {}
        self._old: dict[str, tuple[str, ...]] = {}

    def record(self, prefix: str, replica: str) -> None:
        others = (other for other in self._of(prefix) if other != replica)
        self._young[prefix] = (replica, *others)[:COPIES]
        if len(self._young) >= self._most:
            self._old, self._young = self._young, {}

    def holders(self, prefixes: Sequence[str]) -> tuple[str, ...]:
        """Those that have the longest of `prefixes` (from short to long) that any has."""
        for prefix in reversed(prefixes):
            if holders := self._of(prefix):
                return holders
        return ()

    def share(self, prefixes: Sequence[str], replica: str) -> float:
        """The part of `prefixes` that this replica has, 0 to 1."""
        return sum(replica in self._of(prefix) for prefix in prefixes) / max(len(prefixes), 1)

    def _of(self, prefix: str) -> tuple[str, ...]:
        return self._young.get(prefix) or self._old.get(prefix, ())
