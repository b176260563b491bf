"""Errors that nobody foresaw -> 500, answered where the other middlewares still see the answer."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.front.api.problems import INTERNAL, UNFORESEEN, problem


class AnswerUnforeseen:
    """Answers as long as nothing was sent, and raises the error on, so that the server logs it; its words stay in the
    log. Starlette's own answer would come from outside of everything, without the headers of every other one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def watch(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception:  # whatever it is, it is raised on
            if not begun:
                answer = problem(INTERNAL, UNFORESEEN)
                await answer(scope, receive, send)
            raise
