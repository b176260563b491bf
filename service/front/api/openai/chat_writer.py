"""What a host writes for a chat, in the form of OpenAI's answers and chunks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from service.front.api.openai.chat_answer import (
    ChatAnswer,
    ChatChoice,
    ChatChunk,
    ChatChunkChoice,
    ChatDelta,
    ChatMessage,
    Logprobs,
    Reason,
    ToolCallDelta,
)
from service.front.api.openai.tool_call_reader import ToolCallReader
from service.front.api.openai.tools import ToolCall
from service.front.api.openai.usage import TokenUsage
from service.front.api.openai.writer import ChunkWriter, written
from service.protocol.texts import DrawnToken, TextPart, WrittenText


class ChatWriter(ChunkWriter):
    """Of one request. `head` is what all its chunks have: id, created, model, system_fingerprint."""

    def __init__(
        self, head: Mapping[str, Any], count: int, reports_usage: bool, new_reader: Callable[[], ToolCallReader]
    ) -> None:
        """`new_reader` finds the calls in one of its texts."""
        super().__init__(reports_usage)
        self._head = head
        self._count = count
        self._new_reader = new_reader
        self._readers: dict[int, ToolCallReader] = {}

    def whole(self, texts: Sequence[str], ends: Sequence[WrittenText]) -> ChatAnswer:
        choices = [self._choice(row, text, end) for row, (text, end) in enumerate(zip(texts, ends, strict=True))]
        usage = TokenUsage.of(dict(enumerate(ends)), len(texts))
        return ChatAnswer(object="chat.completion", choices=choices, usage=usage, **self._head)

    def begin(self) -> Iterator[bytes]:
        """Who writes each text, in order: `openai`'s client takes the first chunk for the first text's."""
        for row in range(self._count):
            self._readers[row] = self._new_reader()
            yield self._chunk(row, ChatDelta(role="assistant", content=""))

    def chunks(self, part: TextPart) -> Iterator[bytes]:
        """What a part of a text says; its last one says how it ended, too."""
        content, calls = self._read(part.row, part.text, part.end)
        if content or part.tokens:
            yield self._chunk(part.row, ChatDelta(content=content), part.tokens)
        if calls:
            deltas = [ToolCallDelta(index=place, **call.model_dump()) for place, call in enumerate(calls)]
            yield self._chunk(part.row, ChatDelta(tool_calls=deltas))
        if part.end is not None:
            yield self._chunk(part.row, ChatDelta(), reason=_reason(part.end, calls))

    def _usage(self, ends: Mapping[int, WrittenText]) -> ChatChunk:
        usage = TokenUsage.of(ends, max(1, len(ends)))
        return ChatChunk(object="chat.completion.chunk", choices=[], usage=usage, **self._head)

    # ---- inside -------------------------------------------------------------------------------------------------

    def _choice(self, row: int, text: str, end: WrittenText) -> ChatChoice:
        self._readers[row] = self._new_reader()
        content, calls = self._read(row, text, end)
        given = {"tool_calls": calls} if calls else {}
        message = ChatMessage(role="assistant", content=content or (None if calls else ""), refusal=None, **given)
        return ChatChoice(
            index=row, message=message, logprobs=Logprobs.of(end.logprobs), finish_reason=_reason(end, calls)
        )

    def _read(self, row: int, text: str, end: WrittenText | None) -> tuple[str, list[ToolCall]]:
        reader = self._readers[row]
        content = reader.add(text)
        if end is None:
            return content, []
        rest, calls = reader.end()
        return content + rest, calls

    def _chunk(
        self, row: int, delta: ChatDelta, tokens: Sequence[DrawnToken] = (), reason: Reason | None = None
    ) -> bytes:
        choice = ChatChunkChoice(index=row, delta=delta, logprobs=Logprobs.of(tokens), finish_reason=reason)
        return written(ChatChunk(object="chat.completion.chunk", choices=[choice], **self._head))


def _reason(end: WrittenText, calls: Sequence[ToolCall]) -> Reason:
    return "tool_calls" if calls else end.finish_reason
