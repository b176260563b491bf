"""What the replicas of a base model say to a front where a verb has neither a result nor an error of its own."""

from dataclasses import dataclass
from typing import Any, TypeAlias

from models_registry.records import AdapterVersion
from service.protocol.messages import Failed


@dataclass(frozen=True, slots=True)
class Done:
    """A verb's result."""

    value: Any = None


@dataclass(frozen=True, slots=True)
class Lost:
    """The replica's host has ended. `running` are the ids of the requests whose forward it ran in that moment, as the
    front that is told numbers them; those of other fronts are negative. `host` is that of this one replica."""

    reason: str
    running: tuple[int, ...] = ()
    host: str = ""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The replica has begun nothing, because it hasn't learnt these versions: ask again, with them."""

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PinWish:
    """A version that is to be pinned on so many replicas; None: on all."""

    version: AdapterVersion
    replicas: int | None


@dataclass(frozen=True, slots=True)
class ReplicaPlace:
    """A replica by its name, the keys of the versions that are pinned there, and all wishes that it knows."""

    name: str
    pinned: frozenset[str]
    wishes: tuple[PinWish, ...]


Said: TypeAlias = Done | Failed | Lost
Inferred: TypeAlias = bytes | Lost | Unknown
"""A frame of `Written`, `Answered` or `Failed`, or why there is none."""
