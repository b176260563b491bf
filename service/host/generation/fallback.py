"""Texts that a model's own `generate` writes, a batch at a time: their parts while it does, and how they ended."""

from typing import Final

from torch import nn

from models_registry.base_models.generation import GenerationParameters, parse_parameters
from models_registry.base_models.spec import BaseModelSpec
from models_registry.base_models.writing import Writer
from service.host.generation.text_stream import TextStream
from service.host.scheduling.job import Job
from service.protocol.texts import FinishReason, OnPart, TextPart, WrittenText


class HeardText:
    """One text, by the tokens that are heard of it. Where a batch fails it is written again from its beginning; what
    was sent isn't sent again."""

    def __init__(
        self, row: int, writer: Writer, parameters: GenerationParameters, prompt_tokens: int, on_part: OnPart | None
    ) -> None:
        self._row = row
        self._writer = writer
        self._parameters = parameters
        self._ends = parameters.ends(writer.end_ids)
        self._prompt_tokens = prompt_tokens
        self._on_part = on_part
        self._sent = 0
        self.begin()

    def begin(self) -> None:
        self._stream = TextStream(self._writer.detokenizer, self._parameters.stop_reader())
        self._tokens = 0
        self._length = 0
        self._reason: FinishReason | None = None

    def hear(self, id: int) -> None:
        """The next token; what fills up a batch behind the text's end is none."""
        if self._reason is not None:
            return
        self._tokens += 1
        if id in self._ends:
            self._reason = "stop"
            return
        self._write(self._stream.add(id))
        if self._stream.stopped:
            self._reason = "stop"

    def end(self) -> WrittenText:
        """No token follows. Once."""
        written = WrittenText(self._reason or "length", self._prompt_tokens, self._tokens)
        self._write(self._stream.end(), written)
        return written

    def _write(self, text: str, end: WrittenText | None = None) -> None:
        new = text[max(0, self._sent - self._length) :]
        self._length += len(text)
        self._sent = max(self._sent, self._length)
        if self._on_part is not None and (new or end):
            self._on_part(TextPart(self._row, new, end=end))


class Fallback:
    """Of one hosted model."""

    def __init__(self, spec: BaseModelSpec, module: nn.Module) -> None:
        self._spec: Final = spec
        self._writer: Final = spec.writer(module)

    def texts(self, job: Job) -> tuple[HeardText, ...]:
        """To hear the job's texts with; none where it has none. Raises as reading its prompts does."""
        writer, inputs = self._writer, job.request.inputs
        if job.rows is not None or writer is None:
            return ()
        raw = job.request.parameters or {}
        prompts = job.prompts or self._spec.prompts(inputs, raw)
        parameters = parse_parameters(raw)
        return tuple(
            HeardText(job.start + row, writer, parameters, len(prompt.ids), job.on_part)
            for row, prompt in enumerate(prompts)
        )
