"""Signing in, with a key or by an identity provider, and out again."""

import logging
from typing import TYPE_CHECKING, Annotated, Final, cast

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from models_registry.errors import NotFound, Unavailable
from service.console.forms import TheForm
from service.console.pages import page
from service.console.sessions import ATTEMPT_S, HERE, LOGIN, SESSION, Sessions
from service.front.access.caller import Forbidden
from service.front.access.failed_logins import FailedLogins
from service.front.access.key_ring import KeyRing, Unknown
from service.front.api.dependencies import TheMetrics, metrics_of
from service.front.api.middleware.audit import address_of

if TYPE_CHECKING:
    from service.console.identity_provider import IdentityProvider

log = logging.getLogger(__name__)
router = APIRouter(include_in_schema=False)

WRONG = "There is no such key, or it was revoked, or it has expired."
OTHER_ATTEMPT = "This answer isn't of a login that began in this browser within the last ten minutes. Begin it anew."
NOT_TAKEN = "The identity provider didn't sign you in."
ATTEMPT: Final = "adapter_console_login"
CALLBACK: Final = f"{LOGIN}/callback"


@router.get(LOGIN)
async def show_login(request: Request, back: Annotated[str, Query(max_length=2000)] = "") -> Response:
    return _form(request, back)


@router.post(LOGIN)
async def sign_in(form: TheForm, request: Request, metrics: TheMetrics) -> Response:
    """A new session, or the form again, with what is wrong."""
    state = request.app.state
    failed = cast(FailedLogins, state.failed_logins)
    sessions, ring = cast(Sessions, state.sessions), cast(KeyRing, state.key_ring)
    back = form.get("back")
    session = sessions.sign_in(ring, form.get("key"))
    if session is None:
        metrics.count_failed_login()
        wait_s = failed.count(address_of(request.scope))
        wrong = WRONG if wait_s is None else f"{WRONG} Many from here weren't valid: wait for {wait_s} seconds."
        return _form(request, back, wrong)
    request.scope[SESSION] = session
    return _leads(back)


@router.get(f"{LOGIN}/provider")
def go_to_provider(request: Request, back: Annotated[str, Query(max_length=2000)] = "") -> Response:
    """To the identity provider, which leads back to the callback."""
    provider, sessions = _provider_of(request), cast(Sessions, request.app.state.sessions)
    try:
        there, attempt = provider.begin(_callback(request), back)
    except Unavailable as error:
        return _form(request, back, error.detail)
    answer = RedirectResponse(there, 303)
    # `lax`, because the browser comes back from another site.
    answer.set_cookie(
        ATTEMPT,
        sessions.write_attempt(attempt),
        max_age=ATTEMPT_S,
        path=request.scope.get("root_path", "") + LOGIN,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
    return answer


# Providers add parameters of their own to the query, which every other route would refuse.
@router.route(CALLBACK, include_in_schema=False)
def come_from_provider(request: Request) -> Response:
    """A new session for whom the provider names, or the login with what is wrong."""
    provider, sessions = _provider_of(request), cast(Sessions, request.app.state.sessions)
    said = request.query_params
    attempt = sessions.read_attempt(request.cookies.get(ATTEMPT))
    if attempt is None or said.get("state") != attempt.state or not provider.is_issuer(said.get("iss")):
        return _refused(request, "", OTHER_ATTEMPT)
    if not (code := said.get("code")):
        log.warning("the identity provider refused a login: %r", said.get("error", "it sent no code")[:100])
        return _refused(request, attempt.back, NOT_TAKEN)
    try:
        claims = provider.finish(_callback(request), attempt, code)
        provider.tokens.caller_of(claims)
    except Unknown:
        return _refused(request, attempt.back, NOT_TAKEN)
    except (Forbidden, Unavailable) as error:
        return _refused(request, attempt.back, error.detail)
    request.scope[SESSION] = sessions.welcome(claims.subject, claims.teams, claims.roles)
    return _forget_attempt(request, _leads(attempt.back))


@router.post(f"{HERE}/logout")
async def sign_out(form: TheForm, request: Request) -> Response:
    request.scope[SESSION] = cast(Sessions, request.app.state.sessions).begin()
    return RedirectResponse(LOGIN, 303)


def _form(request: Request, back: str, wrong: str | None = None) -> Response:
    provider = cast("IdentityProvider | None", request.app.state.identity_provider)
    return page("login.html", request.scope, back=back, wrong=wrong, provider=provider and provider.name)


def _refused(request: Request, back: str, wrong: str) -> Response:
    metrics_of(request).count_failed_login()
    return _forget_attempt(request, _form(request, back, wrong))


def _leads(back: str) -> Response:
    return RedirectResponse(back if back.startswith(f"{HERE}/") else HERE, 303)


def _forget_attempt(request: Request, answer: Response) -> Response:
    """No answer of the provider is taken twice."""
    answer.delete_cookie(ATTEMPT, path=request.scope.get("root_path", "") + LOGIN)
    return answer


def _provider_of(request: Request) -> "IdentityProvider":
    provider = cast("IdentityProvider | None", request.app.state.identity_provider)
    if provider is None:
        raise NotFound("This service has no login by an identity provider.")
    return provider


def _callback(request: Request) -> str:
    """As the browser sees it."""
    return f"{request.url.scheme}://{request.url.netloc}{request.scope.get('root_path', '')}{CALLBACK}"
