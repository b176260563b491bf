"""Who calls, before anything of ours reads the request; and whether their role allows the call.

A stranger is 401, whatever they ask for, so that they learn nothing of what there is. A caller whose role is too low is
403.
"""

import re
from hmac import compare_digest
from typing import TYPE_CHECKING, Final

from anyio import CapacityLimiter, to_thread
from starlette._utils import get_route_path
from starlette.datastructures import Headers, State
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from models_registry.errors import Unavailable
from models_registry.references import team_of
from service.front.access.caller import Caller, Forbidden, called_by
from service.front.access.failed_logins import FailedLogins
from service.front.access.fresh_keys import FreshKeys
from service.front.access.key_ring import KeyRing, Unknown, digest_of
from service.front.access.names import stored
from service.front.access.route_roles import RouteRoles, is_open
from service.front.api.http.spool import TEAMS_LIMIT
from service.front.api.metrics.metrics import TEAM, Metrics
from service.front.api.middleware.audit import HIDDEN, address_of
from service.front.api.problems import (
    FAILED_LOGINS,
    FORBIDDEN,
    MALFORMED,
    NOT_FOUND,
    UNAUTHENTICATED,
    UNAVAILABLE,
    problem,
)
from service.front.engine import Engine

if TYPE_CHECKING:
    from service.front.access.tokens import Tokens

_BEARER: Final = re.compile(r"bearer +(?P<key>[!-~]+) *", re.IGNORECASE)
METRICS: Final = "/metrics"
CALLER: Final = "service.caller"
"""In the scope of a request whose caller was found further out, by the console's session."""
VERIFICATIONS: Final = 4
"""So many new tokens are verified at the same time; the others wait for these."""
CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="adapter-service"'}
# Worded so that no secret is seen in it: `Authorization: Bearer …` would be hidden from the caller who needs it.
WRONG: Final = (
    "There is no valid key in the request: send one in the header `X-API-Key`, or as bearer in `Authorization`."
)
TOO_MANY: Final = "Too many keys from this address weren't valid. A valid one is let in at any time."


class Authenticate:
    """`app.state.key_ring` is the service's, and so is `app.state.failed_logins`."""

    def __init__(self, app: ASGIApp, metrics_token: str | None, metrics: Metrics) -> None:
        """`metrics_token` opens the metrics, and nothing else."""
        self._app = app
        self._metrics = metrics
        self._roles = RouteRoles()
        self._fresh_keys = FreshKeys()
        self._verifications = CapacityLimiter(VERIFICATIONS)
        self._metrics_digest = None if metrics_token is None else digest_of(metrics_token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = get_route_path(scope)
        headers = Headers(scope=scope)
        if is_open(path) or (path == METRICS and self._holds_metrics_token(headers)):
            await self._app(scope, receive, send)
            return
        state = scope["app"].state
        try:
            caller = scope.get(CALLER) or await self._identify(state, headers)
        except Unknown:
            await self._answer_stranger(scope, headers)(scope, receive, send)
            return
        except ValueError as error:
            await problem(MALFORMED, str(error))(scope, receive, send)
            return
        except Forbidden as error:
            await problem(FORBIDDEN, error.detail)(scope, receive, send)
            return
        except Unavailable as error:
            await problem(UNAVAILABLE, error.detail)(scope, receive, send)
            return
        scope[TEAM] = caller.team
        scope[TEAMS_LIMIT] = scope["app"].state.engine.admission.teams.limits_of(caller.team).request_bytes
        with called_by(caller):
            answer = self._refusal(caller, scope["method"], path, scope["app"].state.engine)
            if answer is not None and answer.status_code == NOT_FOUND.status:
                scope[HIDDEN] = True
            await (answer or self._app)(scope, receive, send)

    def _answer_stranger(self, scope: Scope, headers: Headers) -> Response:
        if "authorization" in headers or "x-api-key" in headers:
            self._metrics.count_failed_login()
            failed: FailedLogins = scope["app"].state.failed_logins
            if (wait_s := failed.count(address_of(scope))) is not None:
                return problem(FAILED_LOGINS, TOO_MANY, headers={"Retry-After": str(wait_s)})
        return problem(UNAUTHENTICATED, WRONG, headers=CHALLENGE)

    def _holds_metrics_token(self, headers: Headers) -> bool:
        bearer = _BEARER.fullmatch(headers.get("authorization", ""))
        expected = self._metrics_digest
        return bearer is not None and expected is not None and compare_digest(digest_of(bearer["key"]), expected)

    def _refusal(self, caller: Caller, method: str, path: str, engine: Engine) -> Response | None:
        needed = self._roles.find(method, path)
        if needed is None:
            return None
        if not caller.may(needed.role):
            return problem(FORBIDDEN, f"{method} {path} needs the role {needed.role}; this key is a {caller.role}'s.")
        model, adapter = needed.named.get("model_id"), needed.named.get("name")
        if model is not None and not engine.finds_model(model):
            return problem(NOT_FOUND, f"There is no base model {model!r}.")
        if adapter is not None and not engine.finds(stored(adapter)):
            return problem(NOT_FOUND, f"There is no adapter {adapter!r}.")
        if adapter is not None and needed.role == "publisher" and not caller.owns(team_of(stored(adapter))):
            return problem(FORBIDDEN, f"The adapter {adapter!r} belongs to another team, which alone changes it.")
        return None

    async def _identify(self, state: State, headers: Headers) -> Caller:
        """Raises `Unknown`, `ValueError` where it isn't clear which key is meant, and what `Tokens` raises."""
        ring: KeyRing = state.key_ring
        tokens: Tokens | None = state.tokens
        if ring.is_open:
            return ring.identify(None)
        authorization, own = headers.get("authorization"), headers.get("x-api-key")
        if authorization is not None and own is not None:
            raise ValueError("Send the key once: as Authorization, or as X-API-Key.")
        if authorization is None:
            return await self._fresh_keys.identify(ring, own, state.engine.catch_up)
        bearer = _BEARER.fullmatch(authorization)
        if bearer is None:
            raise Unknown
        sent = bearer["key"]
        if tokens is None or not tokens.may_be(sent) or ring.is_admin_key(sent):
            return await self._fresh_keys.identify(ring, sent, state.engine.catch_up)
        # In threads of their own: the issuer may take seconds, in which the others serve everyone.
        return tokens.recall(sent) or await to_thread.run_sync(tokens.verify, sent, limiter=self._verifications)
