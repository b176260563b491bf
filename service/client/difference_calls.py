"""The calls about where adapters act, and what changed between two."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import httpx

from service.client.adapter_calls import split_reference
from service.client.calls import Call, path
from service.client.records import Raw


@dataclass(frozen=True, slots=True)
class TargetDifference:
    """At one module: the norms of what both add there (None where one doesn't act), the norm of their difference, and
    their cosine (None where one of them adds nothing)."""

    target: str
    before: float | None
    after: float | None
    change: float
    cosine: float | None

    @classmethod
    def read(cls, raw: Raw) -> Self:
        before, after = ((raw[side] or {}).get("norm") for side in ("before", "after"))
        return cls(raw["target"], before, after, raw["change"], raw["cosine"])


@dataclass(frozen=True, slots=True)
class Difference:
    """`config` has each key whose value changed, with both values."""

    before: str
    after: str
    config: Mapping[str, tuple[Any, Any]]
    targets: tuple[TargetDifference, ...]
    raw: Raw

    @classmethod
    def read(cls, raw: Raw) -> Self:
        config = {key: (change["before"], change["after"]) for key, change in raw["config"].items()}
        targets = tuple(map(TargetDifference.read, raw["targets"]))
        return cls(raw["before"], raw["after"], config, targets, raw)


def get_difference(reference: str, before: str | None) -> Call[Difference]:
    name, params = split_reference(reference)
    if before is not None:
        params["before"] = before
    return Call("GET", path("adapters", name, "diff"), _read, params=params)


def _read(answer: httpx.Response) -> Difference:
    return Difference.read(answer.json())
