"""Texts while they are written: the events of `/infer` with `"stream": true`, as values."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from httpx_sse import ServerSentEvent

from service.client.calls import Call, nothing, path
from service.client.errors import ServerFailed
from service.client.inference_calls import Choice, Texts, asked_by, inputs_of

EVENT_STREAM = "text/event-stream"


@dataclass(frozen=True, slots=True)
class TextPiece:
    """What was written next of the text of one row."""

    row: int
    text: str


@dataclass(frozen=True, slots=True)
class TextEnd:
    """The end of one row's text: the whole of it, the exact version that wrote it, and why it ended."""

    row: int
    text: str
    adapter: str | Mapping[str, float] | None
    digest: str | Mapping[str, str] | None
    finish_reason: str
    usage: Mapping[str, int]


Written: TypeAlias = TextPiece | TextEnd


def stream(
    model: str,
    texts: Texts,
    adapter: Choice | Sequence[Choice],
    parameters: Mapping[str, Any],
    timeout_s: float | None,
    routing_key: str | None,
) -> Call[None]:
    """Its answer is read event by event, by `read_event`."""
    headers = {"Accept": EVENT_STREAM, **asked_by(timeout_s, routing_key)}
    body = {"inputs": inputs_of(texts), "adapter": adapter, "parameters": dict(parameters), "stream": True}
    return Call("POST", path("models", model, "infer"), nothing, headers=headers, json=body)


def read_event(event: ServerSentEvent) -> Written | None:
    """None for an event that says nothing of a text.

    Raises:
        ServerFailed: the stream ended with a problem; what was written until then has been read.
    """
    if event.event == "token":
        piece = json.loads(event.data)
        return TextPiece(piece["row"], piece["text"])
    if event.event == "row":
        end = json.loads(event.data)
        return TextEnd(
            end["row"], end["text"], end["adapter"], end["digest"], end["finish_reason"], end.get("usage", {})
        )
    if event.event == "error":
        problem = json.loads(event.data)
        raise ServerFailed(problem.get("status", 500), problem)
    return None
