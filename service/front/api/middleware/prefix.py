"""A path prefix under which a proxy publishes the service (`ADAPTER_SERVICE_ROOT_PATH`).

A proxy may cut the prefix off or leave it on: both kinds of address reach the same route. Every address that is
answered (`Location`, redirects) has it.
"""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class UnderPrefix:
    """`prefix` begins with a slash and doesn't end with one. ASGI's `path` holds the prefix, so it is put back."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        scope = {**scope, "root_path": self._prefix}
        if path != self._prefix and not path.startswith(f"{self._prefix}/"):
            scope.update(path=self._prefix + path, raw_path=self._prefix.encode() + scope["raw_path"])

        async def prefixed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                location = headers.get("location")
                if location is not None and location.startswith("/"):
                    headers["location"] = self._prefix + location
            await send(message)

        await self._app(scope, receive, prefixed)
