"""Callers whose keys aren't valid, counted by address: after too many, further ones have to wait.

A valid key is accepted however many others failed from its address, so that nobody can lock out a team behind a proxy.
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from time import monotonic
from typing import Final

MOST_PER_MINUTE: Final = 10
MOST_ADDRESSES: Final = 4096
"""Beyond this number the address that failed longest ago is forgotten."""


@dataclass(slots=True)
class _Failures:
    since: float
    number: int


class FailedLogins:
    """Belongs to the event loop; no thread touches it."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        """`now` is in seconds."""
        self._now = now
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def count(self, address: str | None) -> int | None:
        """Count another failure. Returns the seconds to wait once there are too many, else None."""
        now, place = self._now(), _network(address)
        failures = self._failures.pop(place, None)
        if failures is None or now - failures.since >= 60.0:
            failures = _Failures(now, 0)
        failures.number += 1
        self._failures[place] = failures
        if len(self._failures) > MOST_ADDRESSES:
            self._failures.popitem(last=False)
        return None if failures.number <= MOST_PER_MINUTE else max(1, ceil(failures.since + 60.0 - now))


def _network(address: str | None) -> str:
    """An IPv6 caller usually owns the whole /64 network of its address."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return address or "-"
    if found.version == 4:
        return str(found)
    return str(found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False))
