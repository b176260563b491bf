"""What the service answers instead of a result, as exceptions; the tree mirrors the service's problem types.

ClientError
├── OtherVersion           the service answered what this client doesn't read
├── Unreachable            nobody answered at that address, or the connection broke
│   └── UploadBroken       it broke in an upload; says whether that may be stored
└── ProblemError           the service answered with a problem (RFC 9457)
    ├── BadRequest         400: a header, query or body that can't be parsed
    ├── Unauthorized       401: no valid key
    ├── Forbidden          403: the key's role may not do this
    ├── NotFound           404: no such model, adapter, version or alias
    ├── Conflict           409: the name is taken, the adapter is in use, the model is not loaded
    ├── Stale              412: it is no longer what `if_match` says
    ├── TooLarge           413: larger than the service's limit
    ├── Unsupported        415: a media type that the service doesn't read
    ├── Invalid            422: well-formed but wrong; `errors` lists every offending thing
    ├── Overloaded         429: a queue or a quota is full
    ├── Unavailable        503: not ready, restarting, or a store is away
    ├── DeadlinePassed     504: the request's deadline passed
    ├── NoRoom             507: no room left in a store, a database or memory
    └── ServerFailed       any other status from 500 on; `type` says more, such as `damaged-blob`
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import httpx


@dataclass(frozen=True, slots=True)
class ErrorItem:
    """One offending thing: where it stands in what was sent, as in `("config", "r")`, and what is wrong with it."""

    loc: tuple[str | int, ...]
    message: str

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.loc))}: {self.message}"


class ClientError(Exception):
    """The root: whatever keeps a call from its result."""


class Unreachable(ClientError):
    """Nobody answered, or the connection broke and the call may not be repeated. Check the address and the service."""


class UploadBroken(Unreachable):
    """The connection broke in an upload, also in its last attempt. Repeating it is safe: what is there already isn't
    stored twice.

    `sent` bytes of `total` were handed to the connection. `may_be_stored`: these were all, and only the answer is
    missing; otherwise nothing is stored.
    """

    def __init__(self, text: str, sent: int, total: int, may_be_stored: bool) -> None:
        super().__init__(text)
        self.sent = sent
        self.total = total
        self.may_be_stored = may_be_stored


class OtherVersion(ClientError):
    """The service has another version than this client, and answered in a form that this one doesn't read."""


class ProblemError(ClientError):
    """The service's problem.

    `status` is HTTP's, `type` the stable slug to compare, `errors` lists every offending thing, `hint` is a way out
    where the service knows one, `retry_after_s` is when another try may help, and `request_id` stands in the service's
    log line.
    """

    def __init__(self, status: int, problem: Mapping[str, Any], retry_after_s: float | None = None) -> None:
        self.status = status
        self.retry_after_s = retry_after_s
        self.type = str(problem.get("type", "about:blank"))
        self.detail = str(problem.get("detail") or problem.get("title") or "The service gave no reason.")
        self.errors = tuple(ErrorItem(tuple(error["loc"]), error["message"]) for error in problem.get("errors", ()))
        self.hint: str | None = problem.get("hint")
        self.request_id: str | None = problem.get("request_id")
        super().__init__(self._text())

    def _text(self) -> str:
        lines = [f"{self.detail} ({self.status} {self.type})", *(f"  {error}" for error in self.errors)]
        return "\n".join([*lines, *([self.hint] if self.hint else [])])


class BadRequest(ProblemError):
    """A header, query or body that can't be parsed."""


class Unauthorized(ProblemError):
    """The call has no valid key."""


class Forbidden(ProblemError):
    """The key's role may not do this."""


class NotFound(ProblemError):
    """There is no such model, adapter, version or alias, or the key may not see it."""


class Conflict(ProblemError):
    """A name is taken, an adapter is in use, or a model is not loaded."""


class Stale(ProblemError):
    """Somebody else changed it first: read it again, then repeat the change."""


class TooLarge(ProblemError):
    """The body is larger than the service's limit, which `detail` states."""


class Unsupported(ProblemError):
    """The service doesn't read this media type."""


class Invalid(ProblemError):
    """Well-formed but wrong. `errors` lists all of it, so that one correction is enough."""


class Overloaded(ProblemError):
    """A queue or a quota was still full after the last retry."""


class Unavailable(ProblemError):
    """Something was still away or restarting after the last retry."""


class DeadlinePassed(ProblemError):
    """The call's own deadline passed before there was an answer."""


class NoRoom(ProblemError):
    """There is no room left. Nothing was changed."""


class ServerFailed(ProblemError):
    """The service failed. `request_id` finds the reason in its log."""


_BY_STATUS: Mapping[int, type[ProblemError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: Stale,
    413: TooLarge,
    415: Unsupported,
    422: Invalid,
    429: Overloaded,
    503: Unavailable,
    504: DeadlinePassed,
    507: NoRoom,
}


_NO_ROUTE = frozenset({404, 405})
_NO_ADDRESS = ("Nothing has the address", "Method Not Allowed")


def error_of(response: httpx.Response) -> ProblemError:
    """The exception for an answer that is no success, whose body was read."""
    try:
        problem = response.json()
    except ValueError:  # a proxy in between answered in its own way
        problem = {"detail": response.text[:500]}
    kind = _BY_STATUS.get(response.status_code, ServerFailed if response.is_server_error else ProblemError)
    wait = response.headers.get("Retry-After", "")
    retry_after_s = float(wait) if wait.isdecimal() else None  # the service never answers with a date
    if not isinstance(problem, Mapping):
        problem = {"detail": str(problem)}
    if response.status_code in _NO_ROUTE and str(problem.get("detail", "")).startswith(_NO_ADDRESS):
        problem = {
            "hint": f"Is the service older than this client ({version('adapter-service')})?",
            **problem,
        }
    return kind(response.status_code, problem, retry_after_s)
