"""What becomes of a job whose texts are written one by one: parts while they are, the answer once all have ended."""

import time
from dataclasses import replace
from typing import Protocol

from service.host.execution.use import by_selection
from service.host.scheduling.job import Job
from service.protocol.texts import DrawnToken, TextPart, WrittenText
from service.protocol.types import HostAnswer, Selection, Used


class Writing(Protocol):
    """A text as far as it is written. `read_tokens` of its prompt are computed; `forward_s` went into that and into
    what was written."""

    @property
    def selection(self) -> Selection: ...
    @property
    def written(self) -> WrittenText: ...
    @property
    def read_tokens(self) -> int: ...
    @property
    def forward_s(self) -> float: ...


class TextAnswer:
    """It waited until `begun` (`time.monotonic()`), `load_s` of that for its adapters."""

    def __init__(self, job: Job, begun: float, load_s: float) -> None:
        self.job = job
        self._begun = begun
        self._load_s = load_s
        self._texts: list[list[str]] = [[] for _ in range(job.size)]
        self._rows: dict[int, Writing] = {}
        self._ended: set[int] = set()
        self._heard = [(0, 0)] * job.size
        self._sent = [(0, 0)] * job.size
        """Of each text, characters and tokens: since it was begun; in any attempt."""

    @property
    def is_left(self) -> bool:
        """Whether nobody waits for it any more, or it was failed."""
        job = self.job
        return job.left.is_set() or job.future.done() or (job.whole is not None and job.whole.done())

    @property
    def is_late(self) -> bool:
        return self.job.deadline is not None and time.monotonic() > self.job.deadline

    @property
    def is_complete(self) -> bool:
        return len(self._ended) == self.job.size

    def begin(self, row: int, text: Writing) -> None:
        """A row's text, from its beginning. Where it is written again, what was sent of it isn't sent again."""
        self._rows[row] = text
        self._texts[row] = []
        self._heard[row] = (0, 0)

    def write(self, row: int, text: str, tokens: tuple[DrawnToken, ...], end: WrittenText | None) -> None:
        """What is decided of a text. With its `end`, its last part."""
        self._texts[row].append(text)
        text, tokens = self._unsent(row, text, tokens)
        is_told = row in self._ended
        if end is not None:
            self._ended.add(row)
        if self.job.on_part is not None and not is_told and (text or tokens or end):
            last = None if end is None else replace(end, logprobs=())
            self.job.on_part(TextPart(self.job.start + row, text, tokens, last))

    def _unsent(self, row: int, text: str, tokens: tuple[DrawnToken, ...]) -> tuple[str, tuple[DrawnToken, ...]]:
        (characters, count), (most_characters, most) = self._heard[row], self._sent[row]
        heard = characters + len(text), count + len(tokens)
        self._heard[row] = heard
        self._sent[row] = max(most_characters, heard[0]), max(most, heard[1])
        return text[max(0, most_characters - characters) :], tokens[max(0, most - count) :]

    def answer(self) -> HostAnswer:
        """As far as its texts are written."""
        job, rows = self.job, [self._rows[row] for row in sorted(self._rows)]
        selections = tuple(text.selection for text in rows)
        return HostAnswer(
            selections=selections,
            outputs={"text": tuple(map("".join, self._texts))},
            queue_ms=(self._begun - job.admitted_at - self._load_s) * 1000,
            load_ms=self._load_s * 1000,
            forward_ms=(time.monotonic() - self._begun) * 1000,
            texts=tuple(text.written for text in rows),
            used=by_selection(selections, map(_use_of, rows)),
        )


def _use_of(text: Writing) -> Used:
    read, written = text.read_tokens, text.written
    return Used(int(read > 0), read, min(read, written.cached_tokens), written.tokens, text.forward_s)
