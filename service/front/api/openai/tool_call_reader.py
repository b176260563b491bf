"""Calls in a text that a model writes: `<tool_call>{json}</tool_call>`, as the templates of Hermes, Qwen, SmolLM and
Granite have it, or JSON alone where the text was made to be a call."""

import json
from typing import Any
from uuid import uuid4

from service.front.api.openai.tools import FunctionCall, ToolCall

BEGIN, END = "<tool_call>", "</tool_call>"


class ToolCallReader:
    """Of one text. Without `reads_calls` there are none in it; where it `is_call`, all of it is JSON of a call."""

    def __init__(self, *, reads_calls: bool, is_call: bool) -> None:
        self._reads_calls = reads_calls
        self._is_call = is_call
        self._held = ""

    def add(self, text: str) -> str:
        """What of the text so far surely belongs to no call."""
        if not self._reads_calls:
            return text
        self._held += text
        if self._is_call:
            return ""
        begin = self._held.find(BEGIN)
        free = begin if begin >= 0 else _free_of(self._held)
        content, self._held = self._held[:free], self._held[free:]
        return content

    def end(self) -> tuple[str, list[ToolCall]]:
        """The rest of the text, and the calls. What can't be read as a call stays text."""
        held, self._held = self._held, ""
        pieces = [held] if self._is_call else [part.partition(END)[0] for part in held.split(BEGIN)[1:]]
        calls = [call for piece in pieces if (call := _call_of(piece)) is not None]
        return ("", calls) if calls and len(calls) == len(pieces) else (held, [])


def _free_of(text: str) -> int:
    """How many characters of the text stand before what may become a call's beginning."""
    lengths = range(min(len(BEGIN) - 1, len(text)), 0, -1)
    return len(text) - next((length for length in lengths if text.endswith(BEGIN[:length])), 0)


def _call_of(text: str) -> ToolCall | None:
    try:
        call: Any = json.loads(text)
    except ValueError:
        return None
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return None
    arguments = call.get("arguments", call.get("parameters", {}))
    written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    function = FunctionCall(name=call["name"], arguments=written)
    return ToolCall(id=f"call_{uuid4().hex[:24]}", type="function", function=function)
