"""What the replicas of a base model say to a front where a verb has neither a result nor an error of its own."""

from dataclasses import dataclass
from typing import Any, TypeAlias

from service.protocol.messages import Failed


@dataclass(frozen=True, slots=True)
class Done:
    """A verb's result."""

    value: Any = None


@dataclass(frozen=True, slots=True)
class Lost:
    """The replica's host has ended. `running` are the ids of the requests whose forward it ran in that moment, as the
    front that is told numbers them; those of other fronts are negative."""

    reason: str
    running: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Unknown:
    """The replica has begun nothing, because it hasn't learnt these versions: ask again, with them."""

    keys: tuple[str, ...]


Said: TypeAlias = Done | Failed | Lost
Inferred: TypeAlias = bytes | Lost | Unknown
"""A frame of `Written`, `Answered` or `Failed`, or why there is none."""
