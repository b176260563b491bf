"""What a host writes for completions, in the form of OpenAI's answers and chunks."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from service.front.api.openai.completion_answer import CompletionAnswer, CompletionChoice, CompletionLogprobs
from service.front.api.openai.usage import TokenUsage
from service.front.api.openai.writer import ChunkWriter, written
from service.protocol.texts import DrawnToken, FinishReason, TextPart, WrittenText


class CompletionWriter(ChunkWriter):
    """Of one request. `head` is what all its chunks have: id, created, model, system_fingerprint."""

    def __init__(self, head: Mapping[str, Any], repeats: int, reports_usage: bool) -> None:
        """So many texts are written for each prompt."""
        super().__init__(reports_usage)
        self._repeats = repeats
        self._head = head
        self._offsets: defaultdict[int, int] = defaultdict(int)

    def whole(self, texts: Sequence[str], ends: Sequence[WrittenText]) -> CompletionAnswer:
        choices = [
            self._choice(row, text, end.finish_reason, end.logprobs)
            for row, (text, end) in enumerate(zip(texts, ends, strict=True))
        ]
        usage = TokenUsage.of(dict(enumerate(ends)), self._repeats)
        return CompletionAnswer(object="text_completion", choices=choices, usage=usage, **self._head)

    def begin(self) -> Iterator[bytes]:
        yield from ()

    def chunks(self, part: TextPart) -> Iterator[bytes]:
        reason = None if part.end is None else part.end.finish_reason
        if part.text or part.tokens or reason:
            choice = self._choice(part.row, part.text, reason, part.tokens)
            yield written(CompletionAnswer(object="text_completion", choices=[choice], **self._head))

    def _usage(self, ends: Mapping[int, WrittenText]) -> CompletionAnswer:
        usage = TokenUsage.of(ends, self._repeats)
        return CompletionAnswer(object="text_completion", choices=[], usage=usage, **self._head)

    def _choice(
        self, row: int, text: str, reason: FinishReason | None, tokens: Sequence[DrawnToken]
    ) -> CompletionChoice:
        logprobs = CompletionLogprobs.of(tokens, self._offsets[row])
        self._offsets[row] += sum(len(token.text) for token in tokens)
        return CompletionChoice(index=row, text=text, logprobs=logprobs, finish_reason=reason)
