"""When a call is sent again: the service was busy, away or restarting, or the connection broke."""

from collections.abc import Callable
from dataclasses import dataclass

from tenacity import AsyncRetrying, RetryCallState, Retrying, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_random_exponential

from service.client.errors import ClientError, Overloaded, Unavailable, Unreachable


@dataclass(frozen=True, slots=True)
class Retries:
    """`attempts` in all, the first one included. Between two of them a client waits as long as the service's
    `Retry-After` says, or exponentially longer, and never longer than `longest_s` seconds."""

    attempts: int = 5
    longest_s: float = 30.0

    def blocking(self, repeatable: bool) -> Retrying:
        """A call that is not repeatable is sent again only where the service says that it did nothing."""
        return Retrying(
            stop=stop_after_attempt(self.attempts),
            wait=self._wait_s,
            retry=retry_if_exception(_worth_another(repeatable)),
            reraise=True,
        )

    def asynchronous(self, repeatable: bool) -> AsyncRetrying:
        """As `blocking`, for asyncio."""
        return AsyncRetrying(
            stop=stop_after_attempt(self.attempts),
            wait=self._wait_s,
            retry=retry_if_exception(_worth_another(repeatable)),
            reraise=True,
        )

    def _wait_s(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked_s = error.retry_after_s if isinstance(error, Overloaded | Unavailable) else None
        if asked_s is not None:
            return min(asked_s, self.longest_s)
        return wait_random_exponential(multiplier=0.2, max=self.longest_s)(state)


def _worth_another(repeatable: bool) -> Callable[[BaseException], bool]:
    did_nothing: tuple[type[ClientError], ...] = (Overloaded, Unavailable)
    return lambda error: isinstance(error, (*did_nothing, Unreachable) if repeatable else did_nothing)
