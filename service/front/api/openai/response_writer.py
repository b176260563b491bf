"""What a host writes for `/v1/responses`, in the form of OpenAI's answers and events."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import uuid4

from service.front.api.http.event_stream import event
from service.front.api.openai.response_answer import (
    OutputCall,
    OutputItem,
    OutputMessage,
    OutputText,
    ResponseAnswer,
    ResponseEvent,
    Status,
)
from service.front.api.openai.tool_call_reader import ToolCallReader
from service.front.api.openai.tools import ToolCall
from service.front.api.openai.writer import written
from service.protocol.texts import TextPart, WrittenText


class ResponseWriter:
    """Of one request, which has one text. `asked` is what all its answers have in common; `reader` finds the calls in
    the text."""

    def __init__(self, asked: Mapping[str, Any], reader: ToolCallReader) -> None:
        self._asked = asked
        self._reader = reader
        self._message_id = f"msg_{uuid4().hex}"
        self._text = ""
        self._output: list[OutputItem] = []
        self._count = 0
        self._has_begun = False

    def whole(self, texts: Sequence[str], ends: Sequence[WrittenText]) -> ResponseAnswer:
        (text,), (end,) = texts, ends
        content = self._reader.add(text)
        rest, calls = self._reader.end()
        self._text = content + rest
        message = [self._message(_status(end))] if self._text or not calls else []
        return ResponseAnswer.of(self._asked, [*message, *map(_item, calls)], end)

    def begin(self) -> Iterator[bytes]:
        for name in ("response.created", "response.in_progress"):
            yield self._event(name, response=ResponseAnswer.of(self._asked, [], None))

    def chunks(self, part: TextPart) -> Iterator[bytes]:
        yield from self._add(self._reader.add(part.text))
        if part.end is None:
            return
        rest, calls = self._reader.end()
        yield from self._add(rest)
        if self._has_begun or not calls:
            yield from self._end_message(part.end)
        for call in calls:
            yield from self._add_call(_item(call))

    def end(self, ends: Mapping[int, WrittenText]) -> Iterator[bytes]:
        answer = ResponseAnswer.of(self._asked, self._output, ends[0])
        yield self._event(f"response.{answer.status}", response=answer)

    def failure(self, error: Mapping[str, Any]) -> bytes:
        """As OpenAI's event has it, and with the body that its client raises."""
        details = error["error"]
        told = {name: details[name] for name in ("code", "message", "param")}
        return event({"type": "error", "sequence_number": self._count, **told, "error": details}, "error")

    # ---- inside -------------------------------------------------------------------------------------------------

    def _add(self, text: str) -> Iterator[bytes]:
        if text:
            yield from self._begin_message()
            self._text += text
            yield self._text_event("response.output_text.delta", delta=text, logprobs=[])

    def _begin_message(self) -> Iterator[bytes]:
        if not self._has_begun:
            self._has_begun = True
            message = self._message("in_progress", [])
            yield self._event("response.output_item.added", output_index=0, item=message)
            yield self._text_event("response.content_part.added", part=_part(""))

    def _end_message(self, end: WrittenText) -> Iterator[bytes]:
        yield from self._begin_message()
        message = self._message(_status(end))
        yield self._text_event("response.output_text.done", text=self._text, logprobs=[])
        yield self._text_event("response.content_part.done", part=message.content[0])
        yield self._event("response.output_item.done", output_index=0, item=message)
        self._output.append(message)

    def _add_call(self, call: OutputCall) -> Iterator[bytes]:
        """At once: that it is a call shows at its end."""
        at = len(self._output)
        begun = call.model_copy(update={"arguments": "", "status": "in_progress"})
        about: Mapping[str, Any] = {"output_index": at, "item_id": call.id}
        yield self._event("response.output_item.added", output_index=at, item=begun)
        yield self._event("response.function_call_arguments.delta", **about, delta=call.arguments)
        done = "response.function_call_arguments.done"
        yield self._event(done, **about, name=call.name, arguments=call.arguments)
        yield self._event("response.output_item.done", output_index=at, item=call)
        self._output.append(call)

    def _message(self, status: Status, content: list[OutputText] | None = None) -> OutputMessage:
        parts = [_part(self._text)] if content is None else content
        return OutputMessage(id=self._message_id, type="message", role="assistant", status=status, content=parts)

    def _text_event(self, name: str, **fields: Any) -> bytes:
        return self._event(name, output_index=0, content_index=0, item_id=self._message_id, **fields)

    def _event(self, kind: str, /, **fields: Any) -> bytes:
        number, self._count = self._count, self._count + 1
        return written(ResponseEvent(type=kind, sequence_number=number, **fields), kind)


def _status(end: WrittenText) -> Status:
    return "incomplete" if end.finish_reason == "length" else "completed"


def _part(text: str) -> OutputText:
    return OutputText(type="output_text", text=text, annotations=[], logprobs=[])


def _item(call: ToolCall) -> OutputCall:
    function = call.function
    return OutputCall(
        id=f"fc_{uuid4().hex}",
        type="function_call",
        call_id=call.id,
        name=function.name,
        arguments=function.arguments,
        status="completed",
    )
