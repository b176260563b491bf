"""Writes texts by a model's own `generate`, a batch at a time, for what can't be run on slots.

`generate` returns only once all its texts have ended. So it runs on a thread of its own and gives the turn back after
each token: the model's other requests have theirs in between, and no two forwards ever run at the same time.
"""

import logging
import secrets
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import torch
from torch import Tensor, nn

from models_registry.base_models.generation import parse_parameters
from models_registry.base_models.spec import BaseModelSpec
from models_registry.base_models.writing import Writer
from models_registry.errors import RowsLost
from models_registry.injection.adapted_model import AdaptedModel
from models_registry.injection.routing.routing import Routing
from models_registry.inputs.values import Inputs
from service.host.device import device_of, give_memory_back
from service.host.execution.collate import join_values
from service.host.execution.model_runner import OutOfMemory, acting, blame_on_inputs, require_coverage
from service.host.generation.answer import TextAnswer
from service.host.generation.generated import Generated
from service.host.generation.module_state import ModuleState
from service.host.generation.sampler import Sampler
from service.host.generation.sequence import TextSequence
from service.host.generation.text_stream import TextStream
from service.host.generation.turns import Turns
from service.host.scheduling.job import Job
from service.host.scheduling.outcome import explain, succeed
from service.protocol.types import BASE, Selection

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Text:
    """Row `row` of the job behind `answer`. `parameters` are its job's, with a seed where it is drawn at random, so
    that it is the same text when it is written again."""

    answer: TextAnswer
    row: int
    parameters: Mapping[str, object]

    @property
    def selection(self) -> Selection:
        selections = self.answer.job.selections
        return selections[self.row if len(selections) > 1 else 0]

    @property
    def form(self) -> object:
        """Of the images beside it."""
        inputs = self.answer.job.request.inputs
        shapes = ((name, tensor.shape[1:]) for name, tensor in inputs.tensors.items() if inputs.has_text)
        return tuple(shapes), bool(inputs.images and inputs.images[self.row])


class Fallback:
    """Of the hosted model `name`. `watch` hears what begins to run, and None when it has."""

    def __init__(
        self,
        name: str,
        spec: BaseModelSpec,
        writer: Writer,
        adapted: AdaptedModel,
        watch: Callable[[tuple[int, ...] | None], None],
    ) -> None:
        self._name = name
        self._spec = spec
        self._writer: Final = writer
        self._adapted = adapted
        self._watch = watch
        self._modules: Final = tuple(adapted.module.modules())
        """Without what adapters will add to them."""
        self._holders: Sequence[nn.Module] = ()
        """Those of them that keep something while this batch is written."""
        self._between = ModuleState(())
        """What the module keeps while no text is being written."""
        self._batches: deque[tuple[TextAnswer, ...]] = deque()
        self._turns: Turns | None = None
        self._jobs: tuple[Job, ...] = ()

    @property
    def jobs(self) -> tuple[Job, ...]:
        """Those whose texts aren't all written yet. Any thread may ask."""
        return self._jobs

    @property
    def rows(self) -> int:
        """How many texts these have."""
        return sum(job.size for job in self._jobs)

    def begin(self, answers: Sequence[TextAnswer]) -> None:
        """Write these texts together, once those that began before are written."""
        self._batches.append(tuple(answers))
        self._jobs = (*self._jobs, *(answer.job for answer in answers))

    def step(self) -> int:
        """One token of each text of a batch. Returns how many texts these were."""
        if self._turns is None:
            answers = self._batches[0]
            self._turns = Turns(partial(self._write_batch, answers), f"texts of {self._name}")
        rows = sum(answer.job.size for answer in self._batches[0])
        try:
            goes_on = self._turns.resume()
        except BaseException:
            self._turns = None
            raise
        if not goes_on:
            self._turns = None
            self._batches.popleft()
            self._jobs = tuple(answer.job for batch in self._batches for answer in batch)
        return rows

    def fail_batch(self, error: BaseException) -> None:
        """The batch that ran has ended with this."""
        for answer in self._batches.popleft():
            if not answer.job.future.done():
                explain(self._name, answer.job, error)
        self._jobs = tuple(answer.job for batch in self._batches for answer in batch)

    # ---- on the thread that takes turns -------------------------------------------------------------------------

    def _write_batch(self, answers: Sequence[TextAnswer]) -> None:
        self._begin_turn(answers)
        self._holders, self._between = self._modules, ModuleState(self._modules)
        try:
            with torch.inference_mode():
                self._write([text for answer in answers for text in _texts_of(answer)])
            for answer in answers:
                if not answer.job.future.done():  # of one that was left, nobody reads the texts that took tokens
                    succeed(answer.job.future, answer.answer())
        finally:
            self._between.restore()
            self._watch(None)

    def _begin_turn(self, answers: Sequence[TextAnswer]) -> None:
        self._watch(tuple(answer.job.id for answer in answers))

    def _take_turns(self, answers: Sequence[TextAnswer]) -> None:
        """After a token. Forwards of others neither see nor change what the module keeps for these texts."""
        assert self._turns is not None
        own = ModuleState(self._holders)
        self._holders = own.holders
        self._between.restore()
        self._watch(None)
        self._turns.pass_on()
        self._begin_turn(answers)
        self._between = ModuleState(self._holders)
        own.restore()

    def _write(self, texts: Sequence[_Text]) -> None:
        """Those with images of one form together, and those without any."""
        alike: dict[object, list[_Text]] = {}
        for text in texts:
            if not text.answer.is_left:
                alike.setdefault(text.form, []).append(text)
        for group in alike.values():
            self._write_alike(group)

    def _write_alike(self, texts: Sequence[_Text]) -> None:
        """Together where their adapters can be told apart, else those of each composition."""
        groups: dict[Selection, list[_Text]] = {}
        for text in texts:
            groups.setdefault(text.selection, []).append(text)
        if self._adapted.routes_rows({key for selection in groups for key in selection.composition}):
            groups = {BASE: [text for group in groups.values() for text in group]}
        for group in groups.values():
            if group:
                self._write_group(group)

    def _write_group(self, texts: Sequence[_Text]) -> None:
        """In one `generate`; if that fails in two halves, and so on: an error is then only the text's that caused
        it."""
        try:
            self._generate(texts)
        except BaseException as error:  # a module may raise anything
            if isinstance(error, RowsLost):
                self._adapted.distrust_rows()  # the model takes a batch apart; its adapters go one by one
            ran_out = isinstance(error, OutOfMemory)
            may_fit = ran_out and self._adapted.merged_weights.clear()
            if len(texts) == 1 and not may_fit:
                explain(self._name, texts[0].answer.job, error)
                return
            log.debug("model %s writes %d texts in halves", self._name, len(texts), exc_info=error)
        else:
            return
        # Only here, for the error would keep alive what the forward took.
        if ran_out:
            give_memory_back()
        middle = len(texts) // 2
        for half in (texts[:middle], texts[middle:]):
            self._write(half)

    def _generate(self, texts: Sequence[_Text]) -> None:
        drawer = Generated([self._sequence(text) for text in texts], partial(self._take_turns, _answers_of(texts)))
        selections = dict.fromkeys(text.selection for text in texts)
        with blame_on_inputs(), acting(self._adapted, self._routed(texts, len(selections))):
            self._spec.write(self._adapted.module, _inputs_of(texts), texts[0].parameters, drawer)
        require_coverage(self._adapted, selections)
        drawer.end()

    def _routed(self, texts: Sequence[_Text], compositions: int) -> AbstractContextManager[Routing]:
        if compositions == 1:
            return self._adapted.routed_alone(texts[0].selection.composition)
        return self._adapted.routed([text.selection.composition for text in texts])

    def _sequence(self, text: _Text) -> TextSequence:
        """The text from its beginning."""
        answer, row, writer = text.answer, text.row, self._writer
        job, parameters = answer.job, parse_parameters(text.parameters)
        prompt = job.prompts[row]
        before = prompt.ids if writer.begins is None else writer.begins
        grammar = job.grammar and job.grammar.fresh()
        device = device_of(self._adapted.module)
        sampler = Sampler(parameters, before, job.start + row, writer.end_ids, device, grammar)
        stream = TextStream(writer.detokenizer, parameters.stop_reader())
        sequence = TextSequence(answer, row, prompt, text.selection, sampler, stream, writer.detokenizer.piece)
        answer.begin(row, sequence)
        return sequence


def _answers_of(texts: Sequence[_Text]) -> tuple[TextAnswer, ...]:
    return tuple({text.answer: None for text in texts})


def _texts_of(answer: TextAnswer) -> list[_Text]:
    parameters = dict(answer.job.request.parameters or {})
    if parameters.get("do_sample") and parameters.get("seed") is None:
        parameters["seed"] = secrets.randbits(62)
    return [_Text(answer, row, parameters) for row in range(answer.job.size)]


def _inputs_of(texts: Sequence[_Text]) -> Inputs:
    """One row for each."""
    rows = [text.answer.job.request.inputs.at([text.row]) for text in texts]
    tensors: dict[str, Tensor] = {}
    for name in rows[0].tensors:
        joined = join_values(name, [row.tensors[name] for row in rows])
        assert isinstance(joined, Tensor)
        tensors[name] = joined
    return replace(
        rows[0],
        tensors=tensors,
        texts=tuple(text for row in rows for text in row.texts),
        images=tuple(images for row in rows for images in row.images),
    )
