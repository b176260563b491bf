"""What is to be pinned on the replicas of a base model, as each of them knows it, and what is pinned on this one."""

from collections.abc import Collection

from cachetools import FIFOCache

from service.protocol.replicas import PinWish

MOST_OVER = 10_000
"""Wishes that are over, which a front that looked before that may bring again."""


class ReplicaPins:
    def __init__(self) -> None:
        self._wishes: dict[str, PinWish] = {}
        self._pinned: set[str] = set()
        self._over: FIFOCache[str, None] = FIFOCache(MOST_OVER)

    @property
    def wishes(self) -> tuple[PinWish, ...]:
        return tuple(self._wishes.values())

    @property
    def pinned(self) -> frozenset[str]:
        return frozenset(self._pinned)

    def wish(self, wish: PinWish, again: bool) -> None:
        """`again`: it was wished before, on another replica."""
        key = wish.version.key
        if again and key in self._over:
            return
        self._over.pop(key, None)
        self._wishes[key] = wish

    def is_over(self, key: str) -> bool:
        return key in self._over

    def pin(self, key: str) -> None:
        self._pinned.add(key)

    def unpin(self, keys: Collection[str]) -> None:
        """They are to be pinned on no replica any more."""
        for key in keys:
            self._over[key] = None
            self._wishes.pop(key, None)
            self._pinned.discard(key)
