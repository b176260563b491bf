"""`RateLimit-Policy` and `RateLimit` on every answer to an inference of a team that has rates
(draft-ietf-httpapi-ratelimit-headers): how much it may ask for in a minute, what is left, when all of it will be."""

import math
from collections.abc import Sequence
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.front.access.caller import current_caller
from service.front.access.route_roles import entries
from service.front.admission.team_meter import Rate
from service.front.admission.token_bucket import WINDOW_S
from service.front.engine import Engine

INFERENCES: Final = frozenset(path for _, path, role in entries() if role == "caller")


class AddRateLimits:
    """Inside of what finds out who calls."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start" and "route" in scope and scope["route"].path in INFERENCES:
                engine: Engine = scope["app"].state.engine
                if rates := engine.admission.teams.rates_of(current_caller().team):
                    MutableHeaders(scope=message).update(_headers(rates))
            await send(message)

        await self._app(scope, receive, send_with_limits)


def _headers(rates: Sequence[Rate]) -> dict[str, str]:
    return {
        "RateLimit-Policy": ", ".join(f'"{rate.limit}";q={rate.capacity};w={WINDOW_S:.0f}' for rate in rates),
        "RateLimit": ", ".join(
            f'"{rate.limit}";r={max(0, math.floor(rate.left))};t={math.ceil(rate.full_s)}' for rate in rates
        ),
    }
