"""Every answer says which state of the registry it saw, so that a caller can notice a change."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class TellGeneration:
    """Sets `X-Registry-Generation` on every answer, from memory."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Registry-Generation"] = str(scope["app"].state.engine.generation)
            await send(message)

        await self._app(scope, receive, tell)
