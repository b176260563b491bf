"""A start that fails says why in one sentence; a stack trace is for what nobody foresaw."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models_registry.errors import RegistryError

_FAILED = "lifespan.startup.failed"


class PlainStart:
    """Holds what Starlette says about a failed start, a stack trace, until it is known what failed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        held: list[Message] = []

        async def hold_failure(message: Message) -> None:
            if message["type"] == _FAILED:
                held.append(message)
            else:
                await send(message)

        try:
            await self._app(scope, receive, hold_failure)
        except BaseException as error:  # of any kind: it is reported and raised again
            for message in held:
                await send({"type": _FAILED, "message": error.detail} if isinstance(error, RegistryError) else message)
            raise
