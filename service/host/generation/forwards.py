"""What a step computes: a chunk of each of some prompts, or the next token of each text whose prompt is computed.

Every row follows its own text's adapters, and has the bits that it has alone.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from models_registry.injection.adapted_model import AdaptedModel
from service.host.execution.model_runner import acting, require_coverage
from service.host.generation.prefixes import Prefixes
from service.host.generation.schedule import Schedule, rows_for
from service.host.generation.sequence import TextSequence
from service.host.generation.stepper import Stepper


class Forwards:
    """Of the texts of `schedule`, at most `max_rows` at once, whose slots `stepper` fills. Use it under
    `torch.inference_mode`."""

    def __init__(
        self,
        adapted: AdaptedModel,
        stepper: Stepper,
        schedule: Schedule[TextSequence],
        prefixes: Prefixes,
        max_rows: int,
    ) -> None:
        self._adapted = adapted
        self._stepper = stepper
        self._slots = stepper.slots
        self._schedule = schedule
        self._prefixes = prefixes
        self._routing = adapted.sequence_routing(rows_for(max_rows))

    @property
    def copied_bytes(self) -> int:
        """What the copies of adapters take that texts share."""
        return self._routing.bytes

    def release_copies(self) -> bool:
        """Give their memory back; what texts still need is copied again. Whether there was any."""
        return self._routing.release()

    def prefill(self, ends: Mapping[TextSequence, int], sequences: Sequence[TextSequence]) -> Tensor:
        """Logits of `sequences` [rows, vocabulary] behind what is computed of their prompts now, up to `ends`."""
        start = sequences[0].computed
        slots = [self._schedule.slot_of(sequence) for sequence in sequences]
        with acting(self._adapted, self._routing.apart([sequence.composition for sequence in sequences])):
            chunks = [sequence.prompt.ids[start : ends[sequence]] for sequence in sequences]
            logits = self._stepper.prefill(slots, chunks, start)
        require_coverage(self._adapted, [sequence.selection for sequence in sequences])
        for slot, sequence in zip(slots, sequences, strict=True):
            sequence.computed = ends[sequence]
            self._prefixes.keep(slot, sequence.composition_key, sequence.prompt.ids[: sequence.computed])
        for sequence in sequences:
            if sequence.computed == sequence.prompt_length and (places := self._schedule.end_reading(sequence)):
                slot, other = places
                self._slots.rename({slot: other, other: slot})
        return logits

    def decode(self, sequences: Sequence[TextSequence]) -> Tensor:
        """Logits of `sequences` [rows, vocabulary], whose next tokens are computed. Those of the others that decode are
        rows of the base; what is put into their slots lies where their own next token will be."""
        decoding, chosen = self._schedule.decoding, set(sequences)
        rows = rows_for(len(decoding))
        for row in range(rows):
            is_chosen = row < len(decoding) and decoding[row] in chosen
            self._routing.place(row, decoding[row].composition if is_chosen else {})
        ids = [sequence.next_id if sequence in chosen else 0 for sequence in decoding]
        with self._routing.active(rows):
            logits = self._stepper.decode(ids, [sequence.computed for sequence in decoding])
        for sequence in sequences:
            sequence.computed += 1
        if len(sequences) == len(decoding):
            return logits
        own = [row for row, sequence in enumerate(decoding) if sequence in chosen]
        return logits[torch.tensor(own, device=logits.device)]
