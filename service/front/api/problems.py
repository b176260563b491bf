"""Errors -> `application/problem+json` (RFC 9457), once, for the whole service.

The tree of `models_registry.errors` knows nothing of HTTP; `_OF_ERROR` is the only place where its leaves get a status.
What only HTTP can get wrong (a body that isn't JSON, an unknown media type) is raised here as `Refused`.
A problem's `type` is one of the slugs below, stable, and what a client should compare.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from asgi_correlation_id import correlation_id
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Match

from models_registry import errors
from models_registry.records import Fault
from models_registry.redaction import redacted
from service.front.access.caller import Forbidden
from service.front.access.names import shown_in
from service.front.admission.over_limit import OverLimit
from service.front.api.problem_schema import Problem, ProblemError, ProblemType
from service.front.api.pydantic_words import in_words
from service.front.services.lora_directories import OutsideRoot
from service.protocol.errors import HostLost, RequestEndsHost

PROBLEM_JSON = "application/problem+json"

# Faults quote what the caller sent, so an answer is bounded however large the request was.
MOST_ERRORS = 1_000
# More than these quote the caller's own input, in which no secret of ours is looked for; an exception is one.
FEW_ERRORS = 20
UNFORESEEN = "Something failed that nobody foresaw. The service's log has the details."
LONGEST_DETAIL, LONGEST_MESSAGE, LONGEST_KEY = 10_000, 2_000, 500
"""In characters."""


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """A sort of problem. `retry_after_s` tells the caller when asking again may help."""

    status: int
    type: ProblemType
    title: str
    retry_after_s: int | None = None


MALFORMED = ProblemKind(400, "malformed", "The request can't be read")
UNAUTHENTICATED = ProblemKind(401, "unauthenticated", "Who calls isn't known")
FORBIDDEN = ProblemKind(403, "forbidden", "The caller's role doesn't allow this")
NOT_FOUND = ProblemKind(404, "not-found", "There is no such thing")
METHOD_NOT_ALLOWED = ProblemKind(405, "method-not-allowed", "This method doesn't apply here")
CONFLICT = ProblemKind(409, "conflict", "The state of things doesn't allow this")
STALE = ProblemKind(412, "stale", "Something newer is stored")
TOO_LARGE = ProblemKind(413, "too-large", "Larger than the limit")
ADDRESS_TOO_LONG = ProblemKind(414, "address-too-long", "The address is too long")
UNSUPPORTED_MEDIA_TYPE = ProblemKind(415, "unsupported-media-type", "A media type that isn't read here")
RANGE_NOT_SATISFIABLE = ProblemKind(416, "range-not-satisfiable", "The file has no such bytes")
INVALID = ProblemKind(422, "invalid", "Well-formed but wrong")
UNSUPPORTED = ProblemKind(422, "unsupported", "A feature that isn't supported")
CONTEXT_LENGTH_EXCEEDED = ProblemKind(422, "context-length-exceeded", "The text has too many tokens")
WITHOUT_EFFECT = ProblemKind(422, "adapter-without-effect", "The adapter can't act on this request")
ROWS_NOT_INDEPENDENT = ProblemKind(422, "rows-not-independent", "The rows can't be divided")
OUTSIDE_LORA_ROOT = ProblemKind(422, "outside-lora-root", "The path may not be read")
LIMIT_OF_RATE = ProblemKind(429, "limit", "The team asks for too much", retry_after_s=1)
OVERLOADED = ProblemKind(429, "overloaded", "Too many requests wait", retry_after_s=1)
FAILED_LOGINS = ProblemKind(429, "failed-logins", "Too many keys were not valid")
HEADERS_TOO_LARGE = ProblemKind(431, "headers-too-large", "The headers are too large")
INTERNAL = ProblemKind(500, "internal", "The service failed")
DAMAGED = ProblemKind(500, "damaged-blob", "Stored bytes are damaged")
UNSUPPORTED_ENCODING = ProblemKind(501, "unsupported-encoding", "A transfer encoding that isn't read here")
UNAVAILABLE = ProblemKind(503, "unavailable", "Not available for now", retry_after_s=2)
HOST_RESTARTING = ProblemKind(
    503, "host-restarting", "The base model's process is being started again", retry_after_s=2
)
REQUEST_ENDS_HOST = ProblemKind(422, "request-ends-host", "The request ends its base model's process")
DEADLINE_PASSED = ProblemKind(504, "deadline-passed", "The request's deadline passed before it was answered")
NO_ROOM = ProblemKind(507, "no-room", "There is no room left")
LIMIT_OF_STORAGE = ProblemKind(507, "limit", "The team may store no more")

_OF_ERROR: Mapping[type[errors.RegistryError], ProblemKind] = {
    Forbidden: FORBIDDEN,
    errors.NotFound: NOT_FOUND,
    errors.Conflict: CONFLICT,
    errors.Stale: STALE,
    errors.Invalid: INVALID,
    errors.Unsupported: UNSUPPORTED,
    errors.TooLong: CONTEXT_LENGTH_EXCEEDED,
    errors.WithoutEffect: WITHOUT_EFFECT,
    errors.RowsNotIndependent: ROWS_NOT_INDEPENDENT,
    OutsideRoot: OUTSIDE_LORA_ROOT,
    errors.TooLarge: TOO_LARGE,
    errors.Overloaded: OVERLOADED,
    OverLimit: LIMIT_OF_RATE,
    errors.DeadlinePassed: DEADLINE_PASSED,
    errors.Unavailable: UNAVAILABLE,
    HostLost: HOST_RESTARTING,
    RequestEndsHost: REQUEST_ENDS_HOST,
    errors.NoRoom: NO_ROOM,
    errors.LimitReached: LIMIT_OF_STORAGE,
    errors.Damaged: DAMAGED,
    errors.RegistryError: INTERNAL,
}
_METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
_OF_STATUS = {kind.status: kind for kind in (MALFORMED, NOT_FOUND, METHOD_NOT_ALLOWED)}
_OF_HTTP = (UNAUTHENTICATED, FAILED_LOGINS, UNSUPPORTED_MEDIA_TYPE, RANGE_NOT_SATISFIABLE)
_KINDS = tuple(dict.fromkeys((*_OF_STATUS.values(), *_OF_HTTP, *_OF_ERROR.values())))


class Refused(Exception):
    """A request that HTTP itself refuses, before anything of ours is asked."""

    def __init__(
        self,
        kind: ProblemKind,
        detail: str,
        faults: Iterable[Fault] = (),
        headers: Mapping[str, str] | None = None,
        *,
        hint: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.hint = hint
        self.faults = tuple(faults)
        self.headers = dict(headers or {})


def problem(
    kind: ProblemKind,
    detail: str,
    faults: Iterable[Fault] = (),
    headers: Mapping[str, str] | None = None,
    *,
    hint: str | None = None,
    redact: Callable[[str], str] = redacted,
) -> JSONResponse:
    """`redact` takes the secrets out of what was wrong, which may be in the words of a driver or a factory."""
    body = problem_body(kind, detail, faults, hint=hint, redact=redact)
    retry = {} if kind.retry_after_s is None else {"Retry-After": str(kind.retry_after_s)}
    return JSONResponse(body, kind.status, {**retry, **(headers or {})}, media_type=PROBLEM_JSON)


def problem_body(
    kind: ProblemKind,
    detail: str,
    faults: Iterable[Fault] = (),
    *,
    hint: str | None = None,
    redact: Callable[[str], str] = redacted,
) -> dict[str, Any]:
    """A problem as JSON has it."""
    faults = tuple(Fault(fault.loc, shown_in(fault.message)) for fault in faults)
    detail = _shortened(shown_in(detail), LONGEST_DETAIL, redact)
    if len(faults) > MOST_ERRORS:
        detail += f" There are {len(faults)} errors; these are the first {MOST_ERRORS}."
    errors = [
        ProblemError(
            loc=[_short_key(key) for key in fault.loc],
            message=_shortened(fault.message, LONGEST_MESSAGE, redact if len(faults) <= FEW_ERRORS else _as_it_is),
        )
        for fault in faults[:MOST_ERRORS]
    ]
    body = Problem(
        type=kind.type,
        title=kind.title,
        status=kind.status,
        detail=detail,
        errors=errors,
        hint=hint and _shortened(shown_in(hint), LONGEST_MESSAGE, redact),
        request_id=correlation_id.get() or "-",
    )
    return body.model_dump()


def problem_of(request: Request, error: Exception) -> dict[str, Any]:
    """What went wrong once an answer had begun, as JSON has it. Of an unexpected error it says no more."""
    redact = request.app.state.redact
    if not isinstance(error, errors.RegistryError):
        return problem_body(INTERNAL, UNFORESEEN, redact=redact)
    return problem_body(_kind_of(error), error.detail, _faults_of(error), hint=error.hint, redact=redact)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: these problems, and 400, 401, 403, 429, 500 and 503, which every route may answer."""
    content = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": " / ".join(kind.title for kind in _KINDS if kind.status == status), "content": content}
        for status in sorted({*statuses, 400, 401, 403, 429, 500, 503})
    }


def install_problems(app: FastAPI, redact: Callable[[str], str] = redacted) -> None:
    """Hand every error that leaves an endpoint to its translation, but those that nobody foresaw (`unforeseen.py`).

    `redact` takes the secrets out of them.
    """
    app.state.redact = redact
    app.add_exception_handler(errors.RegistryError, _of_registry_error)
    app.add_exception_handler(Refused, _of_refusal)
    app.add_exception_handler(RequestValidationError, _of_parameters)
    app.add_exception_handler(HTTPException, _of_routing)
    app.add_exception_handler(ClientDisconnect, _of_a_lost_caller)
    app.add_exception_handler(errors.Cancelled, _of_a_lost_caller)


# Starlette types every handler as taking an `Exception`; each is registered for the one class that it asserts.


async def _of_registry_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.RegistryError)
    redact = request.app.state.redact
    return problem(_kind_of(error), error.detail, _faults_of(error), hint=error.hint, redact=redact)


def _kind_of(error: errors.RegistryError) -> ProblemKind:
    kind = next(_OF_ERROR[cls] for cls in type(error).__mro__ if cls in _OF_ERROR)
    return replace(kind, retry_after_s=error.retry_after_s) if isinstance(error, OverLimit) else kind


def _faults_of(error: errors.RegistryError) -> tuple[Fault, ...]:
    return error.faults if isinstance(error, errors.Invalid) else ()


async def _of_refusal(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)
    redact = request.app.state.redact
    return problem(error.kind, error.detail, error.faults, error.headers, hint=error.hint, redact=redact)


async def _of_parameters(request: Request, error: Exception) -> JSONResponse:
    """A path that holds no legal name leads nowhere (404); a query or header that can't be parsed is 400."""
    assert isinstance(error, RequestValidationError)
    faults = [Fault(found["loc"], in_words(found)) for found in error.errors()]
    if any(fault.loc[0] == "path" for fault in faults):
        return problem(NOT_FOUND, f"Nothing has the address {request.url.path}.", faults)
    return problem(MALFORMED, "A query parameter or header can't be read.", faults)


async def _of_routing(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    kind = _OF_STATUS.get(error.status_code, ProblemKind(error.status_code, "refused", "The request is refused"))
    headers = {"Allow": ", ".join(_allowed(request))} if kind is METHOD_NOT_ALLOWED else error.headers
    return problem(kind, f"{request.method} {request.url.path}: {error.detail}", headers=headers)


def _allowed(request: Request) -> list[str]:
    """The methods that the address has. Each is a route of its own; Starlette's error knows the first one's alone."""
    routes: list[BaseRoute] = request.app.routes
    scopes = {method: {**request.scope, "method": method} for method in _METHODS}
    return [
        method for method, scope in scopes.items() if any(route.matches(scope)[0] is Match.FULL for route in routes)
    ]


async def _of_a_lost_caller(_: Request, __: Exception) -> JSONResponse:
    """Nobody reads this answer; it keeps a broken connection from being logged as a failure of ours."""
    return problem(MALFORMED, "The connection ended before the request was done.")


def _shortened(text: str, longest: int, redact: Callable[[str], str]) -> str:
    # More than what is shown, so that no secret stands half behind the cut; and bytes of a file's name may be no text.
    shown = redact(text[: 2 * longest].encode(errors="backslashreplace").decode())
    return shown if len(text) <= longest else f"{shown[:longest]}… ({len(text)} characters in all)"


def _as_it_is(text: str) -> str:
    return text


def _short_key(key: str | int) -> str | int:
    return key if isinstance(key, int) else _shortened(key, LONGEST_KEY, _as_it_is)
