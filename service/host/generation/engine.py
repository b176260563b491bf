"""Writes texts step by step: any number of them at once, each by its own adapters, while others begin and end.

Runs on the model's own thread. Each step admits waiting texts, computes at most one chunk of prompts, and then the next
token of every text whose prompt is computed.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import CancelledError
from dataclasses import replace
from functools import partial
from typing import Final

import torch
from torch import Tensor

from models_registry.base_models.generation import parse_parameters
from models_registry.base_models.spec import BaseModelSpec
from models_registry.base_models.writing import Writer
from models_registry.errors import DeadlinePassed, Invalid, RowsLost
from models_registry.injection.adapted_model import AdaptedModel
from models_registry.injection.routing.routing import without_routing
from service.host.device import give_memory_back
from service.host.execution.model_runner import OutOfMemory, blame_on_inputs
from service.host.generation.answer import TextAnswer
from service.host.generation.capacity import require_capacity
from service.host.generation.forwards import Forwards
from service.host.generation.prefixes import Prefixes
from service.host.generation.proof import example_prompts, reads_together, writes_as_generate
from service.host.generation.sampler import Sampler, draw
from service.host.generation.schedule import Schedule
from service.host.generation.sequence import TextSequence
from service.host.generation.stepper import Stepper, stepper_for
from service.host.generation.text_stream import TextStream
from service.host.scheduling.job import Job
from service.host.scheduling.outcome import explain, fail, succeed
from service.protocol.stats import TextStats

log = logging.getLogger(__name__)


class Engine:
    """Of the hosted model `name`, whose module `stepper` runs. At most `max_rows` texts are written at once,
    whose keys and values take at most `max_bytes`."""

    def __init__(
        self,
        name: str,
        adapted: AdaptedModel,
        writer: Writer,
        stepper: Stepper,
        max_rows: int,
        max_bytes: int,
    ) -> None:
        self._name = name
        self._adapted = adapted
        self._writer = writer
        self._stepper: Final = stepper
        self._slots = stepper.slots
        self._prefixes = Prefixes(self._slots)
        self._max_bytes = max_bytes
        self._schedule: Schedule[TextSequence] = Schedule(max_rows)
        self._forwards = Forwards(adapted, stepper, self._schedule, self._prefixes, max_rows)
        self._jobs: tuple[Job, ...] = ()
        self._is_proven = False
        self._stats = TextStats()

    # ---- any thread -----------------------------------------------------------------------------------------

    @property
    def jobs(self) -> tuple[Job, ...]:
        """Those whose texts aren't all written yet."""
        return self._jobs

    def limit(self, max_bytes: int) -> None:
        """From now on keys and values may take so many bytes."""
        self._max_bytes = max_bytes

    @property
    def stats(self) -> TextStats:
        """As of the last step."""
        return self._stats

    # ---- the model's own thread -----------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """How many more texts may begin, of teams that aren't `waiting_teams`."""
        return self._schedule.room

    @property
    def waiting_teams(self) -> Collection[str]:
        return self._schedule.waiting_teams

    def prove(self, spec: BaseModelSpec) -> None:
        """Find out whether it writes what the model's own `generate` writes. Before, and where it doesn't, it takes no
        job."""
        with without_routing(self._adapted):
            prompts = example_prompts(spec)
            self._is_proven = writes_as_generate(self._stepper, self._writer, prompts)
            self._schedule.reads_together = self._is_proven and reads_together(self._stepper, prompts)
        self._slots.reset()

    @property
    def is_proven(self) -> bool:
        """Whether it takes any jobs at all."""
        return self._is_proven

    def takes(self, job: Job) -> bool:
        """Whether it can write this job's texts. Its adapters are in memory."""
        return self._is_proven and self._adapted.routes_rows(job.keys)

    def begin(self, answer: TextAnswer) -> None:
        """Write these texts from the next step on. Raises `TooLong` for texts that the slots can never
        hold."""
        job = answer.job
        self._schedule.max_positions = self._max_positions
        require_capacity(self._schedule, job)
        parameters = parse_parameters(job.request.parameters or {})
        selections = job.selections * job.size if len(job.selections) == 1 else job.selections
        writer, device = self._writer, self._writer.model.device
        for row, (prompt, selection) in enumerate(zip(job.prompts, selections, strict=True)):
            grammar = job.grammar and job.grammar.fresh()
            sampler = Sampler(parameters, prompt.ids, job.start + row, writer.end_ids, device, grammar)
            stream = TextStream(writer.detokenizer, parameters.stop_reader())
            sequence = TextSequence(answer, row, prompt, selection, sampler, stream, writer.detokenizer.piece)
            answer.begin(row, sequence)
            self._schedule.add([sequence])
        self._jobs = (*self._jobs, job)

    def step(self) -> int:
        """One step for all texts. Returns how many rows it decoded."""
        with torch.inference_mode():
            self._drop()
            self._admit()
            ends = {chunk.sequence: chunk.end for chunk in self._schedule.next_chunks()}
            self._compute(partial(self._forwards.prefill, ends), tuple(ends))
            decoding = self._schedule.decoding
            self._compute(self._forwards.decode, decoding)
            if not self._schedule.running:
                self._slots.drop_empty()
        self._stats = replace(
            self._stats,
            running=len(self._schedule.running),
            cache_bytes=self._slots.bytes + self._prefixes.bytes,
            max_cache_bytes=self._max_bytes,
            copied_bytes=self._forwards.copied_bytes,
            max_copied_bytes=self._adapted.kernels.max_paged_bytes,
        )
        return len(decoding)

    def fail_all(self, error: BaseException) -> None:
        """Write none of its texts any further, because of this."""
        with torch.inference_mode():
            for answer in {sequence.answer: None for sequence in self._schedule.all}:
                explain(self._name, answer.job, error)
                self._end(answer, CancelledError())

    @property
    def _max_positions(self) -> int:
        return self._max_bytes // max(1, self._slots.position_bytes)

    # ---- inside a step --------------------------------------------------------------------------------------

    def _drop(self) -> None:
        """Texts that nobody waits for any more, and those that are late."""
        for answer in {sequence.answer: None for sequence in self._schedule.all}:
            if answer.is_left:
                if not answer.job.future.done():
                    succeed(answer.job.future, answer.answer())  # nobody reads the texts, but they have taken tokens
                self._end(answer, CancelledError())
            elif answer.is_late:
                self._end(answer, DeadlinePassed("The request's deadline passed while its text was written."))

    def _admit(self) -> None:
        schedule, slots = self._schedule, self._slots
        schedule.max_positions = slots.max_positions = self._max_positions
        while (yielding := schedule.overdrawn) is not None:
            self._put_back(yielding)
        admitted = schedule.admit()
        self._prefixes.limit(max(0, self._max_bytes - schedule.expected * slots.position_bytes))
        if slots.bytes + self._prefixes.bytes > self._max_bytes:
            slots.drop_empty()
        for sequence in admitted:
            slot, ids = schedule.slot_of(sequence), sequence.prompt.ids
            slots.hold(slot, len(ids) + 1)
            sequence.computed = self._prefixes.restore(slot, sequence.composition_key, ids)
            if not sequence.drawn:
                sequence.cached = sequence.computed
                self._stats = replace(
                    self._stats,
                    prompt_tokens=self._stats.prompt_tokens + sequence.prompt_length,
                    cached_tokens=self._stats.cached_tokens + sequence.cached,
                )

    def _compute(self, forward: Callable[[Sequence[TextSequence]], Tensor], sequences: Sequence[TextSequence]) -> None:
        """Together; if that fails in two halves, and so on: an error is then only the text's that caused it."""
        running = self._schedule.running
        sequences = [sequence for sequence in sequences if sequence in running]
        if not sequences:
            return
        begun = time.monotonic()
        try:
            with blame_on_inputs():
                logits = forward(sequences)
        except OutOfMemory as error:
            if not self._make_room():
                self._fail(sequences[0], error)
                return
        except BaseException as error:  # a module may raise anything
            if isinstance(error, RowsLost):
                self._adapted.distrust_rows()  # texts that begin later are not for steps
            if len(sequences) == 1:
                self._fail(sequences[0], error)
                return
            log.debug("model %s computes %d texts in halves", self._name, len(sequences), exc_info=error)
        else:
            self._draw(sequences, logits, begun)
            return
        # Only here, for the error would keep alive what the forward took.
        middle = (len(sequences) + 1) // 2
        self._compute(forward, sequences[:middle])
        self._compute(forward, sequences[middle:])

    def _draw(self, sequences: Sequence[TextSequence], logits: Tensor, begun: float) -> None:
        """The next token of those whose own tokens are all computed; of the others it is known. They share the time
        since `begun`."""
        rows = [row for row, sequence in enumerate(sequences) if sequence.needs_token]
        if rows and len(rows) < len(sequences):
            logits = logits[torch.tensor(rows, device=logits.device)]
        chosen = [sequences[row] for row in rows]
        tokens = draw([sequence.sampler for sequence in chosen], logits) if chosen else []
        share = (time.monotonic() - begun) / len(sequences)
        for sequence in sequences:
            sequence.forward_s += share
        for sequence, drawn in zip(chosen, tokens, strict=True):
            answer = sequence.answer
            if answer.job.future.done():  # another of its texts has failed just now
                continue
            if isinstance(drawn, Invalid):
                self._fail(sequence, drawn)
                continue
            text, shown = sequence.take(drawn)
            self._stats = replace(self._stats, tokens=self._stats.tokens + 1)
            answer.write(sequence.row, text, shown, sequence.written if sequence.is_over else None)
            if sequence.is_over:
                self._remove(sequence)
            if answer.is_complete:
                self._jobs = tuple(job for job in self._jobs if job is not answer.job)
                succeed(answer.job.future, answer.answer())

    # ---- eviction ------------------------------------------------------------------------------------------

    def _make_room(self) -> bool:
        """What is kept for others is dropped; one text gives its slot back and is computed again later. Whether that
        may help."""
        yielding = self._schedule.first_to_yield
        kept = self._prefixes.bytes > 0
        kept = self._forwards.release_copies() or kept
        self._prefixes.limit(0)
        if yielding is not None:
            self._put_back(yielding)
        self._slots.drop_empty()
        give_memory_back()
        return yielding is not None or kept

    def _put_back(self, sequence: TextSequence) -> None:
        """It keeps what was drawn, and is computed again."""
        self._slots.release(self._schedule.slot_of(sequence))
        self._stats = replace(self._stats, recomputed=self._stats.recomputed + 1)
        sequence.computed = 0
        self._move(self._schedule.put_back(sequence))

    def _fail(self, sequence: TextSequence, error: BaseException) -> None:
        """Its job's other texts end too, because a request has one answer."""
        self._slots.clear(self._schedule.slot_of(sequence))
        explain(self._name, sequence.answer.job, error)
        self._end(sequence.answer, CancelledError())

    def _end(self, answer: TextAnswer, error: Exception) -> None:
        """Write no more of it."""
        for sequence in self._schedule.all:
            if sequence.answer is answer:
                self._remove(sequence)
        self._jobs = tuple(job for job in self._jobs if job is not answer.job)
        if not answer.job.future.done():
            fail(answer.job.future, error)

    def _remove(self, sequence: TextSequence) -> None:
        if sequence in self._schedule.running:
            self._slots.release(self._schedule.slot_of(sequence))
        self._move(self._schedule.remove(sequence))

    def _move(self, moves: Iterable[tuple[int, int]]) -> None:
        for source, slot in moves:
            self._slots.rename({source: slot})


def engine_for(name: str, writer: Writer | None, adapted: AdaptedModel, max_rows: int, max_bytes: int) -> Engine | None:
    """None where only the model's own `generate` can write its texts, if anything can."""
    stepper = None if writer is None or writer.reads_images else stepper_for(writer.model)
    if writer is None or stepper is None:
        return None
    return Engine(name, adapted, writer, stepper, max_rows, max_bytes)
