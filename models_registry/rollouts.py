"""Which version of a split alias answers a request, and what is wrong with a split.

A request has a place between 0 and 1, which follows from its routing key, the adapter and the alias alone: the same in
every process and at any time. The versions, in ascending order, take as much of the way from 0 to 1 as their shares
say, so that a newer version that gets more keeps the requests that it had.
"""

from collections.abc import Iterator, Mapping
from hashlib import sha256
from itertools import accumulate
from typing import Final

from models_registry.records import Adapter, AdapterVersion, Fault, Rollout
from models_registry.references import pick_version

TOLERANCE: Final = 1e-6
"""So far from 1 the shares' sum may be."""


def place_of(routing_key: str, adapter: str, alias: str, purpose: str = "version") -> float:
    """Uniform in [0, 1): the first 8 bytes of the sha256 of purpose, adapter, alias and key, over 2^64."""
    digest = sha256("\0".join((purpose, adapter, alias, routing_key)).encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8]) / 2**64


def draw_version(adapter: Adapter, reference: str, routing_key: str) -> AdapterVersion:
    """As `pick_version`, but of an alias that splits the version at the place of the request. Raises `NotFound`."""
    alias = reference.partition("@")[2]
    rollout = adapter.rollouts.get(alias)
    if rollout is None:
        return pick_version(adapter, reference)
    number = _version_at(rollout.shares, place_of(routing_key, adapter.name, alias))
    return pick_version(adapter, f"{adapter.name}@{number}")


def is_split(adapter: Adapter, reference: str) -> bool:
    """Whether the reference means more than one version."""
    rollout = adapter.rollouts.get(reference.partition("@")[2])
    return rollout is not None and sum(share > 0 for share in rollout.shares.values()) > 1


def main_version(rollout: Rollout) -> int:
    """The one with the greatest share, of several the oldest."""
    return max(rollout.shares, key=lambda version: (rollout.shares[version], -version))


def faults_of(rollout: Rollout, adapter: Adapter) -> Iterator[Fault]:
    """All that is wrong with it, at its places in the body of `PUT /adapters/{name}/aliases/{alias}`."""
    numbers = {version.version for version in adapter.versions}
    is_whole = list(rollout.shares.values()) == [1.0]
    for version, share in rollout.shares.items():
        loc = ("version",) if is_whole else ("versions", str(version))
        if version not in numbers:
            yield Fault(loc, f"The adapter {adapter.name!r} has no version {version}.")
        if not 0 <= share <= 1:
            yield Fault(loc, f"A share is between 0 and 1, not {share:g}.")
    if not abs((total := sum(rollout.shares.values())) - 1) <= TOLERANCE:
        yield Fault(("versions",), f"The shares must add up to 1, not to {total:.9g}.")
    yield from _faults_of_shadow(rollout, adapter, numbers)


def _faults_of_shadow(rollout: Rollout, adapter: Adapter, numbers: set[int]) -> Iterator[Fault]:
    if rollout.shadow is None:
        return
    if rollout.shadow not in numbers:
        yield Fault(("shadow",), f"The adapter {adapter.name!r} has no version {rollout.shadow}.")
    if rollout.shadow in rollout.shares:
        yield Fault(("shadow",), "The shadow answers requests itself: choose a version that the alias doesn't name.")
    if not 0 < rollout.shadow_share <= 1:
        yield Fault(("shadow_share",), f"The share is above 0 and at most 1, not {rollout.shadow_share:g}.")


def _version_at(shares: Mapping[int, float], place: float) -> int:
    taking = [(version, share) for version, share in sorted(shares.items()) if share > 0]
    ends = accumulate(share for _, share in taking)
    # Where rounding leaves a gap below 1, it is the last one's.
    return next((version for (version, _), end in zip(taking, ends, strict=True) if place < end), taking[-1][0])
