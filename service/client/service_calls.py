"""The calls about the service itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.client.calls import Call, Plan, path


@dataclass(frozen=True, slots=True)
class ServiceState:
    """`version` is that of its code; `degraded` names what is away, has failed or is loading while the rest goes on
    answering."""

    version: str
    degraded: tuple[str, ...]


def read_state() -> Plan[ServiceState]:
    """Raises `Unavailable` where it isn't ready; the message says why."""
    version: Mapping[str, Any] = yield Call("GET", path("version"), lambda answer: answer.json())
    ready: Mapping[str, Any] = yield Call("GET", path("health", "ready"), lambda answer: answer.json())
    return ServiceState(version["version"], tuple(ready["degraded"]))
