"""Whether a model can be run on slots: a few texts, written both ways."""

import logging
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor

from models_registry.base_models.spec import BaseModelSpec
from models_registry.base_models.writing import Prompt, Writer
from models_registry.inputs.values import Inputs
from service.host.generation.stepper import Stepper

log = logging.getLogger(__name__)

TOKENS: Final = 3
EXAMPLE_TEXTS: Final = ("A ship leaves.", "Bread!")


def example_prompts(spec: BaseModelSpec) -> tuple[Prompt, ...]:
    return spec.prompts(Inputs(texts=EXAMPLE_TEXTS), {})


def writes_as_generate(stepper: Stepper, writer: Writer, prompts: Sequence[Prompt]) -> bool:
    """Whether the first tokens of these texts, written together on slots, are those that `generate` writes greedily;
    with the first of the stepper's attentions for which they are. False where either fails: such a model's texts are
    not for slots."""
    try:
        with torch.inference_mode():
            theirs = _by_generate(writer, prompts)
    except Exception:  # whatever a module raises
        return False
    for attention in stepper.attentions:
        stepper.attention = attention
        try:
            with torch.inference_mode():
                ours = _on_slots(stepper, prompts)
        except Exception:  # as above, of one that has no idea of slots
            log.debug("the model can't be run on slots by %s", type(attention).__name__, exc_info=True)
            continue
        if [_cut(row, writer.end_ids) for row in ours] == [_cut(row, writer.end_ids) for row in theirs]:
            return True
    return False


def reads_together(stepper: Stepper, prompts: Sequence[Prompt]) -> bool:
    """Whether a prompt has the same logits, bit by bit, whether it is read alone or with another."""
    with torch.inference_mode():
        alone = [_read(stepper, [slot], [prompt]) for slot, prompt in enumerate(prompts)]
        together = _read(stepper, range(len(prompts)), prompts)
    return torch.equal(torch.cat(alone), together)


def _read(stepper: Stepper, slots: Sequence[int], prompts: Sequence[Prompt]) -> Tensor:
    return stepper.prefill(slots, [prompt.ids for prompt in prompts], 0)


def _on_slots(stepper: Stepper, prompts: Sequence[Prompt]) -> list[list[int]]:
    stepper.slots.reset()
    rows = [[int(_read(stepper, [slot], [prompt])[0].argmax())] for slot, prompt in enumerate(prompts)]
    for step in range(TOKENS - 1):
        positions = [len(prompt.ids) + step for prompt in prompts]
        logits = stepper.decode([row[-1] for row in rows], positions)
        for row, id in zip(rows, logits.argmax(-1).tolist(), strict=True):
            row.append(int(id))
    return rows


def _by_generate(writer: Writer, prompts: Sequence[Prompt]) -> list[list[int]]:
    longest = max(len(prompt.ids) for prompt in prompts)
    ids, mask = torch.zeros(2, len(prompts), longest, dtype=torch.long, device=writer.model.device)
    for row, prompt in enumerate(prompts):
        ids[row, -len(prompt.ids) :] = torch.tensor(prompt.ids)
        mask[row, -len(prompt.ids) :] = 1
    # `generate` is a method that transformers mixes into models that can; the task says that this one can.
    generate: Any = writer.model.generate
    tokens: Tensor = generate(input_ids=ids, attention_mask=mask, max_new_tokens=TOKENS, do_sample=False)
    return tokens[:, longest:].tolist()


def _cut(tokens: Sequence[int], ends: frozenset[int]) -> list[int]:
    """Up to the first that ends a text: `generate` writes nothing of it behind that."""
    end = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
    return list(tokens[: end + 1])
