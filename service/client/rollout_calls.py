"""The calls about aliases that divide their requests or have a shadow, and what was counted of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from service.client.calls import Call, path
from service.client.records import Raw


@dataclass(frozen=True, slots=True)
class Rollout:
    """How an alias divides its requests: each version's share, and the `shadow` on which a share is run too."""

    versions: Mapping[int, float]
    shadow: int | None
    shadow_share: float | None

    @classmethod
    def read(cls, raw: Raw) -> Self:
        versions = {int(version): share for version, share in raw["versions"].items()}
        return cls(versions, raw.get("shadow"), raw.get("shadow_share"))


@dataclass(frozen=True, slots=True)
class VersionCounts:
    """The requests that a version got under an alias. Milliseconds are None where there was no answer yet."""

    version: int
    share: float
    requests: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    raw: Raw

    @classmethod
    def read(cls, raw: Raw) -> Self:
        latency = raw["latency"]
        return cls(
            raw["version"],
            raw["share"],
            raw["requests"],
            raw["errors"],
            latency["p50_ms"],
            latency["p95_ms"],
            raw,
        )


@dataclass(frozen=True, slots=True)
class ShadowCounts:
    """A shadow's answers beside those of the version `against`. `raw` has the latencies, too."""

    version: int
    against: int
    equal: int
    close: int
    different: int
    failed: int
    dropped: int
    raw: Raw

    @classmethod
    def read(cls, raw: Raw) -> Self:
        return cls(
            raw["version"],
            raw["against"],
            raw["equal"],
            raw["close"],
            raw["different"],
            raw["failed"],
            raw["dropped"],
            raw,
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was counted of an alias's requests: by version, and by shadow."""

    versions: tuple[VersionCounts, ...]
    shadows: tuple[ShadowCounts, ...]

    @classmethod
    def read(cls, raw: Raw) -> Self:
        versions = tuple(map(VersionCounts.read, raw["versions"]))
        return cls(versions, tuple(map(ShadowCounts.read, raw["shadows"])))


def divide(
    name: str,
    alias: str,
    versions: Mapping[int, float],
    shadow: int | None,
    shadow_share: float | None,
    reason: str | None,
) -> Call[Rollout]:
    given = {"shadow": shadow, "shadow_share": shadow_share, "reason": reason}
    body: dict[str, Any] = {"versions": {str(version): share for version, share in versions.items()}}
    body |= {field: value for field, value in given.items() if value is not None}
    return Call("PUT", path("adapters", name, "aliases", alias), lambda answer: Rollout.read(answer.json()), json=body)


def roll_back(name: str, alias: str, reason: str | None) -> Call[Rollout]:
    address = path("adapters", name, "aliases", alias, "rollback")
    body = {} if reason is None else {"reason": reason}
    return Call("POST", address, lambda answer: Rollout.read(answer.json()), json=body, repeatable=False)


def compare(name: str, alias: str) -> Call[Comparison]:
    address = path("adapters", name, "aliases", alias, "comparison")
    return Call("GET", address, lambda answer: Comparison.read(answer.json()))
