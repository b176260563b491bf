"""A request with more rows than a forward may have: cut into parts that wait in turn as jobs of their own, then joined.

So others have their turns between its parts, and none of it needs more memory than any other forward.
"""

from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import replace

import torch

from models_registry.base_models.spec import Inputs, OutputValue
from service.engine.job import Job
from service.engine.request import InferAnswer
from service.engine.rows import rows_at


def cut(job: Job, max_rows: int) -> tuple[Job, ...]:
    """The job itself where it fits, or where nothing has shown that each of its rows gets what it would get alone."""
    if job.kind is None or job.size <= max_rows:
        return (job,)
    parts = tuple(_part(job, start, min(start + max_rows, job.size)) for start in range(0, job.size, max_rows))
    _Joining(job.future, parts)
    return parts


def _part(job: Job, start: int, end: int) -> Job:
    request = replace(job.request, inputs=Inputs(texts=job.request.inputs.texts[start:end]))
    return replace(
        job,
        request=request,
        selections=job.selections if len(job.selections) == 1 else job.selections[start:end],
        rows=None if job.rows is None else rows_at(job.rows, range(start, end)),
        future=Future(),
        whole=job.future,
    )


class _Joining:
    """Gives the caller's future the answers of all parts, or the first error; who leaves takes his parts with him."""

    def __init__(self, whole: Future[InferAnswer], parts: Sequence[Job]) -> None:
        self._whole = whole
        self._parts = parts
        whole.add_done_callback(self._drop)
        for part in parts:
            part.future.add_done_callback(self._take)

    def _drop(self, _: Future[InferAnswer]) -> None:
        for part in self._parts:
            part.future.cancel()

    def _take(self, future: Future[InferAnswer]) -> None:
        if future.cancelled() or self._whole.done():
            return
        with suppress(InvalidStateError):  # the caller left at this moment
            if error := future.exception():
                self._whole.set_exception(error)
            elif all(part.future.done() for part in self._parts):
                self._whole.set_result(_joined(self._parts))


def _joined(parts: Sequence[Job]) -> InferAnswer:
    answers = [part.future.result() for part in parts]
    return replace(
        answers[0],
        adapter=tuple(one for answer in answers for one in answer.adapter),
        digest=tuple(one for answer in answers for one in answer.digest),
        outputs={name: _joined_values([answer.outputs[name] for answer in answers]) for name in answers[0].outputs},
        load_ms=sum(answer.load_ms for answer in answers),
        forward_ms=sum(answer.forward_ms for answer in answers),
    )


def _joined_values(values: Sequence[OutputValue]) -> OutputValue:
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    if tensors:
        return torch.cat(tensors)
    return tuple(word for value in values if isinstance(value, tuple) for word in value)
