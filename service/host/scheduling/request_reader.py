"""From a call to a job that may run: its place in the queue, its adapters, its inputs' reading, whether it is cut.

Any thread may admit. A call whose reading takes less than a trip to another thread is read at once; the others are read
by a few threads of their own.
"""

import threading
import time
from collections.abc import Collection
from concurrent.futures import Executor, Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from models_registry.base_models.spec import Rows
from models_registry.base_models.writing import Prompt
from models_registry.errors import Invalid, RowsNotIndependent
from models_registry.injection.adapted_model import AdaptedModel
from models_registry.injection.probing.coverage import PROBED_ROWS
from models_registry.records import Fault
from service.host.adapters.adapter_cache import AdapterCache
from service.host.device import device_of
from service.host.execution.collate import distinct_rows, rows_at
from service.host.execution.model_runner import check_heads, check_selections
from service.host.generation.grammar import Grammar
from service.host.generation.text_reader import TextReader
from service.host.scheduling.batch_policy import BatchPolicy
from service.host.scheduling.batcher import Batcher
from service.host.scheduling.job import BatchKey, Job
from service.protocol.texts import OnPart
from service.protocol.types import HostAnswer, HostLimits, InferCall, Selection, distinct_versions

SHORT_ROWS, SHORT_CHARACTERS, SHORT_BYTES = 16, 1024, 1 << 18


@dataclass(slots=True, eq=False)
class Pending:
    """A call from its arrival to its answer. `left` is set once nobody waits for it any more."""

    id: int
    call: InferCall
    selections: tuple[Selection, ...]
    on_part: OnPart | None = None
    future: Future[HostAnswer] = field(default_factory=Future[HostAnswer])
    left: threading.Event = field(default_factory=threading.Event)
    admitted_at: float = field(default_factory=time.monotonic)

    @property
    def deadline(self) -> float | None:
        return None if self.call.remaining_s is None else self.admitted_at + self.call.remaining_s

    def fail(self, error: BaseException) -> None:
        with suppress(InvalidStateError):  # cancelled at this moment
            self.future.set_exception(error)

    def cancel(self) -> None:
        """Once it runs nobody can cancel it, but it may end early."""
        self.future.cancel()
        self.left.set()


@dataclass(frozen=True, slots=True)
class _Read:
    call: InferCall
    rows: Rows | None
    batch_key: BatchKey | None
    prompts: tuple[Prompt, ...] = ()
    grammar: Grammar | None = None


class RequestReader:
    """Of one hosted model."""

    def __init__(
        self,
        adapted: AdaptedModel,
        policy: BatchPolicy,
        batcher: Batcher,
        cache: AdapterCache,
        readers: Executor,
        limits: HostLimits,
        texts: TextReader | None,
    ) -> None:
        """`texts` reads those that are to be continued; None where the model writes none."""
        self._adapted = adapted
        self._policy = policy
        self._batcher = batcher
        self._cache = cache
        self._readers = readers
        self._limits = limits
        # Onto another device, inputs are copied when it is free, for which a thread that admits must not wait.
        self._reads_at_once = device_of(adapted.module).type == "cpu"
        self._texts = texts

    def admit(self, pending: Pending) -> None:
        """Reserve its place, hold its adapters and begin to fetch them, begin to read. Raises `Overloaded`, or why the
        model was closed; whatever goes wrong later stands in the future."""
        call = pending.call
        self._limits.require_few_rows(max(call.inputs.count if call.inputs.has_text else 0, len(pending.selections)))
        versions = distinct_versions(pending.selections)
        self._batcher.admit(pending.future, call.team)
        self._cache.acquire(versions)
        pending.future.add_done_callback(lambda _: self._cache.release(versions))
        self._cache.prefetch(versions)
        if self._reads_at_once and _is_short(call):
            self._read(pending)
        else:
            self._readers.submit(self._read, pending)

    # ---- the stations of a call ---------------------------------------------------------------------------------

    def _read(self, pending: Pending) -> None:
        if pending.future.done():  # nobody waits any more
            return
        try:
            read = self._prepared(pending)
            if self._shows_too_little(read.rows):
                self._learn_first(pending, read)
            else:
                self._enqueue(pending, read)
        except Exception as error:  # whatever it is, the caller gets it
            pending.fail(error)

    def _prepared(self, pending: Pending) -> _Read:
        call, selections = pending.call, pending.selections
        inputs = self._policy.spec.prepare(call.inputs, call.chat, call.parameters)
        call = replace(call, inputs=inputs, outputs=self._outputs(replace(call, inputs=inputs)))
        rows = None if call.parameters is not None else self._policy.spec.read(self._adapted.module, inputs)
        count = inputs.count if rows is None else rows.count
        check_selections(call.per_row, selections, count)
        check_heads(self._adapted.architecture, selections)
        batch_key = self._policy.batch_key(call, selections, rows)
        if self._texts is None or call.parameters is None:
            return _Read(call, rows, batch_key)
        return _Read(call, rows, batch_key, *self._texts.read(inputs, call.parameters))

    def _outputs(self, call: InferCall) -> tuple[str, ...] | None:
        """What it gets where it names none."""
        if call.parameters is None:
            return self._policy.default_outputs(call.inputs) if call.outputs is None else call.outputs
        if unknown := [name for name in call.outputs or () if name != "text"]:
            faults = [Fault(("outputs", name), "doesn't exist; with parameters there is text") for name in unknown]
            raise Invalid("The model doesn't give every output that was asked for.", faults)
        return call.outputs

    def _shows_too_little(self, rows: Rows | None) -> bool:
        """Whether it may have to be cut, while nothing has shown yet what the model does with rows such as these."""
        many = self._limits.max_batch_rows
        return rows is not None and rows.count is not None and rows.count > many and self._policy.is_unproven(rows)

    def _learn_first(self, pending: Pending, read: _Read) -> None:
        assert read.rows is not None
        some = rows_at(read.rows, distinct_rows(read.rows, PROBED_ROWS, self._limits.max_batch_rows))
        learning = self._batcher.call(partial(self._policy.learn, some))

        def go_on(learnt: Future[None]) -> None:
            try:
                learnt.result()
                self._enqueue(pending, read)
            except Exception as error:  # the model was closed, or its rows can't be cut
                pending.fail(error)

        learning.add_done_callback(go_on)

    def _enqueue(self, pending: Pending, read: _Read) -> None:
        divisible, batch_key = self._divides(read), read.batch_key
        if read.call.alone:
            batch_key = None
        elif divisible and batch_key is None and read.rows is not None:
            # What was shown meanwhile may also say with whom it can share a forward.
            batch_key = self._policy.batch_key(read.call, pending.selections, read.rows)
        self._batcher.put(
            Job(
                read.call,
                pending.selections,
                read.rows,
                pending.future,
                pending.admitted_at,
                batch_key,
                None,
                pending.left,
                divisible,
                deadline=pending.deadline,
                id=pending.id,
                on_part=pending.on_part,
                prompts=read.prompts,
                grammar=read.grammar,
            )
        )

    def _divides(self, read: _Read) -> bool:
        """Whether it may be cut into parts. Raises `Invalid` for more rows than a request may have, and
        `RowsNotIndependent` for more than one forward takes where each might depend on the others."""
        many, rows = self._limits.max_batch_rows, read.rows
        if rows is None or rows.count is None or rows.count <= many:
            return self._policy.divides(read.call, rows)
        if not self._policy.has_rows(read.call, rows):
            return False
        self._limits.require_few_rows(rows.count)
        if not self._policy.divides(read.call, rows):
            raise RowsNotIndependent(
                f"The request has {rows.count} rows, more than the {many} that one forward takes, and the model's rows "
                f"are not known to be independent of each other; send at most {many}, or ask only for outputs that are."
            )
        return True


def _is_short(call: InferCall) -> bool:
    """Whether reading the inputs takes less time than a trip to a thread and back."""
    if call.parameters is not None or call.chat or call.inputs.chats:
        return False
    texts: Collection[str] = call.inputs.texts
    return (
        len(texts) <= SHORT_ROWS
        and sum(map(len, texts)) <= SHORT_CHARACTERS
        and sum(x.nbytes for x in call.inputs.tensors.values()) <= SHORT_BYTES
    )
