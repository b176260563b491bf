"""Signing in with a key, and out again."""

from typing import Annotated, cast

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from service.console.forms import TheForm
from service.console.pages import page
from service.console.sessions import HERE, LOGIN, SESSION, Sessions
from service.front.access.failed_logins import FailedLogins
from service.front.access.key_ring import KeyRing
from service.front.api.dependencies import TheMetrics
from service.front.api.middleware.audit import address_of

router = APIRouter(include_in_schema=False)

WRONG = "There is no such key, or it was revoked, or it has expired."


@router.get(LOGIN)
async def show_login(request: Request, back: Annotated[str, Query(max_length=2000)] = "") -> Response:
    return page("login.html", request.scope, back=back, wrong=None)


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
        return page("login.html", request.scope, back=back, wrong=wrong)
    request.scope[SESSION] = session
    return RedirectResponse(back if back.startswith(f"{HERE}/") else HERE, 303)


@router.post(f"{HERE}/logout")
async def sign_out(form: TheForm, request: Request) -> Response:
    request.scope[SESSION] = cast(Sessions, request.app.state.sessions).begin()
    return RedirectResponse(LOGIN, 303)
