"""An inference's texts as events while they are written: `token`s, a `row` where one ends, `end` or `error` at last."""

from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from fastapi import Request

from models_registry.errors import RegistryError
from service.front.api.dependencies import engine_of, metrics_of
from service.front.api.http.event_stream import KEEP_ALIVE, KEEP_ALIVE_S, Events, event
from service.front.api.infer_answer import choice_as_json, end_as_json, timing_of, tokens_as_json
from service.front.api.problems import problem_of
from service.front.requests import InferRequest
from service.front.services.streamed_texts import StreamedTexts
from service.protocol.texts import TextPart


@asynccontextmanager
async def infer_events(request: Request, asked: InferRequest) -> AsyncGenerator[Events]:
    """Raises as `Engine.infer` does where nothing was written."""
    async with engine_of(request).stream(asked) as streamed:
        yield Events(_events(request, streamed))


async def _events(request: Request, streamed: StreamedTexts) -> AsyncGenerator[bytes]:
    written: defaultdict[int, list[str]] = defaultdict(list)
    try:
        async with aclosing(streamed.parts(KEEP_ALIVE_S)) as all_parts:
            async for parts in all_parts:
                yield b"".join(_events_of(part, written[part.row], streamed) for part in parts) or KEEP_ALIVE
    except Exception as error:  # the status is sent already, so it becomes an event; internal errors are raised on
        yield event(problem_of(request, error), "error")
        if not isinstance(error, RegistryError):
            raise
        return
    metrics_of(request).count_inference(streamed.answer)
    yield event({"timing": timing_of(streamed.answer)}, "end")


def _events_of(part: TextPart, written: list[str], streamed: StreamedTexts) -> bytes:
    written.append(part.text)
    token: dict[str, Any] = {"row": part.row, "text": part.text}
    if part.tokens:
        token["logprobs"] = tokens_as_json(part.tokens)
    events = event(token, "token") if part.text or part.tokens else b""
    if part.end is not None:
        row = {
            "row": part.row,
            "adapter": choice_as_json(streamed.adapter_of(part.row)),
            "digest": choice_as_json(streamed.digest_of(part.row)),
            "text": "".join(written),
            **end_as_json(part.end),
        }
        events += event(row, "row")
    return events
