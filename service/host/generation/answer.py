"""What becomes of a job whose texts are written one by one: parts while they are, the answer once all have ended."""

import time
from dataclasses import replace

from service.host.scheduling.job import Job
from service.protocol.texts import DrawnToken, TextPart, WrittenText
from service.protocol.types import HostAnswer


class TextAnswer:
    """`load_s` of the time before `begun` went into the coming of its adapters."""

    def __init__(self, job: Job, begun: float, load_s: float) -> None:
        self.job = job
        self._begun = begun
        self._load_s = load_s
        self._texts: list[list[str]] = [[] for _ in range(job.size)]
        self._written: dict[int, WrittenText] = {}

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
        return len(self._written) == self.job.size

    def write(self, row: int, text: str, tokens: tuple[DrawnToken, ...], end: WrittenText | None) -> None:
        """What is decided of a text. With its `end`, its last part."""
        self._texts[row].append(text)
        if end is not None:
            self._written[row] = end
        if self.job.on_part is not None and (text or tokens or end):
            last = None if end is None else replace(end, logprobs=())
            self.job.on_part(TextPart(self.job.start + row, text, tokens, last))

    def answer(self) -> HostAnswer:
        """Once it is complete."""
        job = self.job
        return HostAnswer(
            selections=job.selections * job.size if len(job.selections) == 1 else job.selections,
            outputs={"text": tuple(map("".join, self._texts))},
            queue_ms=(self._begun - job.admitted_at - self._load_s) * 1000,
            load_ms=self._load_s * 1000,
            forward_ms=(time.monotonic() - self._begun) * 1000,
            texts=tuple(self._written[row] for row in range(job.size)),
        )
