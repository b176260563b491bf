"""A request with more rows than a forward may have: cut into parts that wait in turn as jobs of their own, then joined.

So others have their turns between its parts, and none of it needs more memory than any other forward.
"""

from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import replace

from service.host.execution.collate import join_values, rows_at
from service.host.execution.use import by_selection
from service.host.scheduling.job import Job
from service.protocol.types import HostAnswer


def cut(job: Job, max_rows: int) -> tuple[Job, ...]:
    """The job itself where it fits, or where nothing has shown that each of its rows gets what it would get alone. A
    part may be cut again."""
    if not job.divisible or job.size <= max_rows:
        return (job,)
    parts = tuple(_part(job, start, min(start + max_rows, job.size)) for start in range(0, job.size, max_rows))
    PartialResults(job.future, [part.future for part in parts])
    return parts


def _part(job: Job, start: int, end: int) -> Job:
    given = job.request.inputs if job.rows is None else replace(job.request.inputs, tensors={})
    request = replace(job.request, inputs=given.at(range(start, end)))
    return replace(
        job,
        request=request,
        selections=job.selections if len(job.selections) == 1 else job.selections[start:end],
        rows=None if job.rows is None else rows_at(job.rows, range(start, end)),
        future=Future(),
        whole=job.whole or job.future,
        start=job.start + start,
        prompts=job.prompts[start:end],
    )


class PartialResults:
    """Gives the caller's future the answers of all parts, or the first error; who leaves takes his parts with him."""

    def __init__(self, whole: Future[HostAnswer], parts: Sequence[Future[HostAnswer]]) -> None:
        self._whole: Future[HostAnswer] | None = whole
        self._parts = parts
        whole.add_done_callback(self._drop)
        for part in parts:
            part.add_done_callback(self._take)

    def _drop(self, _: Future[HostAnswer]) -> None:
        parts = self._parts
        # Or all of them would keep each other, and the answer, until garbage is collected.
        self._whole, self._parts = None, ()
        for part in parts:
            part.cancel()

    def _take(self, future: Future[HostAnswer]) -> None:
        parts, whole = self._parts, self._whole
        if future.cancelled() or whole is None:
            return
        with suppress(InvalidStateError):  # the caller left at this moment
            if error := future.exception():
                whole.set_exception(error)
            elif all(part.done() for part in parts):
                try:
                    answer = _joined([part.result() for part in parts])
                except Exception as error:  # whatever it is, somebody waits for this
                    whole.set_exception(error)
                else:
                    whole.set_result(answer)


def _joined(answers: Sequence[HostAnswer]) -> HostAnswer:
    return replace(
        answers[0],
        selections=tuple(one for answer in answers for one in answer.selections),
        outputs={name: join_values(name, [answer.outputs[name] for answer in answers]) for name in answers[0].outputs},
        load_ms=sum(answer.load_ms for answer in answers),
        forward_ms=sum(answer.forward_ms for answer in answers),
        texts=tuple(text for answer in answers for text in answer.texts),
        used=by_selection(
            (one for answer in answers for one in dict.fromkeys(answer.selections)),
            (used for answer in answers for used in answer.used),
        ),
    )
