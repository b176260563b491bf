"""Trying a version on some of an alias's requests: `client.rollouts`, blocking and for asyncio."""

from collections.abc import Mapping

from service.client.calls import Send, SendAsync
from service.client.rollout_calls import Comparison, Rollout, compare, divide


class Rollouts:
    """`client.adapters.promote` ends a split and a shadow."""

    def __init__(self, send: Send) -> None:
        self._send = send

    def split(
        self,
        name: str,
        alias: str,
        versions: Mapping[int, float],
        *,
        shadow: int | None = None,
        shadow_share: float | None = None,
        reason: str | None = None,
    ) -> Rollout:
        """Let `name@alias` be each of these versions for a share of the requests; the shares add up to 1. A share of
        the requests is run on the version `shadow` too."""
        return self._send(divide(name, alias, versions, shadow, shadow_share, reason))

    def compare(self, name: str, alias: str) -> Comparison:
        """Requests, errors and latencies of each version under the alias; a shadow's equal and different answers."""
        return self._send(compare(name, alias))


class AsyncRollouts:
    """As `Rollouts`, for asyncio."""

    def __init__(self, send: SendAsync) -> None:
        self._send = send

    async def split(
        self,
        name: str,
        alias: str,
        versions: Mapping[int, float],
        *,
        shadow: int | None = None,
        shadow_share: float | None = None,
        reason: str | None = None,
    ) -> Rollout:
        """Let `name@alias` be each of these versions for a share of the requests; the shares add up to 1. A share of
        the requests is run on the version `shadow` too."""
        return await self._send(divide(name, alias, versions, shadow, shadow_share, reason))

    async def compare(self, name: str, alias: str) -> Comparison:
        """Requests, errors and latencies of each version under the alias; a shadow's equal and different answers."""
        return await self._send(compare(name, alias))
