from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_models import DECODER, TINY_MODELS
from torch import Tensor, nn
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
)

from service.host.generation.rooms import SLAB
from service.host.generation.schedule import CHUNK
from service.host.generation.slots import SlotLayer
from service.host.generation.stepper import Stepper, stepper_for

WINDOW = 5
SLIDING: dict[str, Any] = {**DECODER, "sliding_window": WINDOW}
PROMPTS = ([3, 4, 5, 6, 7, 8, 9], [5, 6], [11] * 12)
TOKENS = 6

MODELS: dict[str, Callable[[], nn.Module]] = {
    **{name: TINY_MODELS[name].base for name in ("llama", "qwen2", "qwen3", "gpt2")},
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SLIDING)),
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**SLIDING, head_dim=8)),
    "gemma3": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(**SLIDING, head_dim=8, layer_types=["sliding_attention", "full_attention"])
    ),
}


def model(name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    made = MODELS[name]().double().eval().requires_grad_(False)
    assert isinstance(made, PreTrainedModel)
    return made


def stepper(made: PreTrainedModel) -> Stepper:
    found = stepper_for(made)
    assert found is not None
    return found


def expected(made: PreTrainedModel, ids: list[int]) -> Tensor:
    """Logits of the last token, by the model's plain forward of all."""
    return made(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].float()


@pytest.mark.parametrize("name", MODELS)
@torch.inference_mode()
def test_each_row_gets_the_logits_of_its_own_text(name: str) -> None:
    made = model(name)
    steps = stepper(made)
    texts = [list(ids) for ids in PROMPTS]
    for slot, ids in enumerate(texts):
        torch.testing.assert_close(steps.prefill([slot], [ids], 0)[0], expected(made, ids))
    for token in range(TOKENS):
        positions = [len(ids) for ids in texts]
        for ids in texts:
            ids.append(3 + token)
        logits = steps.decode([ids[-1] for ids in texts], positions)
        for row, ids in zip(logits, texts, strict=True):
            torch.testing.assert_close(row, expected(made, ids))


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma3"])
@torch.inference_mode()
def test_a_prompt_may_be_read_in_chunks(name: str) -> None:
    made = model(name)
    steps = stepper(made)
    ids = [3 + place % 30 for place in range(20)]
    for start in range(0, 18, 6):
        steps.prefill([1], [ids[start : start + 6]], start)
    torch.testing.assert_close(steps.prefill([1], [ids[18:]], 18)[0], expected(made, ids))


@pytest.mark.parametrize("name", MODELS)
@torch.inference_mode()
def test_prompts_that_are_read_together_have_the_bits_that_each_has_alone(name: str) -> None:
    steps = stepper(model(name).float())
    prompts = [[3 + (place + 5 * row) % 25 for place in range(9 + row)] for row in range(6)]
    together = steps.prefill(range(6), prompts, 0)
    kept = [steps.slots.read(slot, 0, len(ids)) for slot, ids in enumerate(prompts)]
    for ids, logits, own in zip(prompts, together, kept, strict=True):
        assert torch.equal(steps.prefill([7], [ids], 0)[0], logits)
        assert all(map(torch.equal, steps.slots.read(7, 0, len(ids)), own))


@torch.inference_mode()
def test_a_text_has_the_same_bits_at_every_number_of_rows() -> None:
    steps = stepper(model("llama").float())
    logits: list[Tensor] = []
    for rows in (1, 5, 9, 20):
        for slot in range(rows):
            steps.prefill([slot], [[3, 4, 5 + slot]], 0)
        logits.append(steps.decode([7] * rows, [3] * rows)[0])
    assert all(torch.equal(logits[0], others) for others in logits[1:])


@torch.inference_mode()
def test_a_text_has_the_same_bits_in_every_row_whichever_thread_computes_it() -> None:
    steps = stepper(model("llama").float())
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for slot in range(17):
            steps.prefill([slot], [[3, 4, 5]], 0)
        first, *others = steps.decode([7] * 17, [3] * 17)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(first, other) for other in others)


@torch.inference_mode()
def test_slots_behind_those_of_a_step_keep_their_texts() -> None:
    made = model("llama")
    steps = stepper(made)
    steps.prefill([0, 1], [[3, 4], [5, 6, 7]], 0)
    steps.decode([9], [2])
    torch.testing.assert_close(steps.prefill([1], [[8]], 3)[0], expected(made, [5, 6, 7, 8]))


@torch.inference_mode()
def test_two_texts_change_places() -> None:
    made = model("llama")
    steps = stepper(made)
    steps.prefill([0, 1], [[3, 4], [5, 6, 7]], 0)
    steps.slots.rename({0: 1, 1: 0})
    first, second = steps.decode([9, 8], [3, 2])
    torch.testing.assert_close(first, expected(made, [5, 6, 7, 9]))
    torch.testing.assert_close(second, expected(made, [3, 4, 8]))


@pytest.mark.parametrize("attention", range(2))
@torch.inference_mode()
def test_texts_of_all_lengths_share_steps_while_they_grow_and_end(attention: int) -> None:
    made = model("llama")
    steps = stepper(made)
    steps.attention = steps.attentions[attention]
    texts = [[3 + (place + row) % 25 for place in range(length)] for row, length in enumerate((2, 300, 62, 63, 130, 9))]
    for slot, ids in enumerate(texts):
        for start in range(0, len(ids), CHUNK):
            steps.prefill([slot], [ids[start : start + CHUNK]], start)
    for token in range(4):
        if token == 2:  # the second has ended, and the last one has its slot
            steps.slots.release(1)
            steps.slots.rename({5: 1})
            texts[1] = texts.pop()
        positions = [len(ids) for ids in texts]
        for ids in texts:
            ids.append(3 + token)
        for row, ids in zip(steps.decode([3 + token] * len(texts), positions), texts, strict=True):
            torch.testing.assert_close(row, expected(made, ids))


@torch.inference_mode()
def test_a_text_takes_as_much_memory_as_it_is_long() -> None:
    steps = stepper(model("llama"))
    steps.prefill(range(8), [[3, 4]] * 8, 0)
    short = steps.slots.bytes
    assert short == SLAB * steps.slots.position_bytes
    for start in range(0, 3 * SLAB, CHUNK):
        steps.prefill([8], [[5] * CHUNK], start)
    steps.slots.drop_empty()
    assert steps.slots.bytes == 4 * short
    steps.slots.release(8)
    steps.slots.drop_empty()
    assert steps.slots.bytes == short


@torch.inference_mode()
def test_rooms_that_texts_no_longer_have_make_way_for_a_longer_one() -> None:
    steps = stepper(model("llama"))
    steps.slots.max_positions = 2 * SLAB
    steps.prefill(range(16), [[3, 4]] * 16, 0)
    for slot in reversed(range(1, 16)):
        steps.slots.release(slot)
    assert steps.slots.bytes == 2 * SLAB * steps.slots.position_bytes
    steps.prefill([1], [[5] * CHUNK], 0)
    assert steps.slots.bytes == 2 * SLAB * steps.slots.position_bytes


@torch.inference_mode()
def test_a_text_that_finds_no_memory_for_a_longer_room_stays_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    made = model("llama")
    steps = stepper(made)
    ids = [3 + place % 25 for place in range(64)]
    steps.prefill([0], [ids], 0)

    def fail(layer: SlotLayer, slab: object) -> None:
        raise torch.OutOfMemoryError

    with monkeypatch.context() as full:
        full.setattr(SlotLayer, "kept_in", fail)
        with pytest.raises(torch.OutOfMemoryError):
            steps.decode([9], [64])
    torch.testing.assert_close(steps.decode([9], [64])[0], expected(made, [*ids, 9]))


@torch.inference_mode()
def test_a_prefix_that_was_read_serves_another_slot() -> None:
    made = model("llama")
    steps = stepper(made)
    steps.prefill([0], [[3, 4, 5, 6]], 0)
    steps.slots.write(2, 0, steps.slots.read(0, 0, 3))
    torch.testing.assert_close(steps.prefill([2], [[9]], 3)[0], expected(made, [3, 4, 5, 9]))


@torch.inference_mode()
def test_what_is_not_a_number_stays_in_its_slot_until_it_is_cleared() -> None:
    made = model("llama")
    steps = stepper(made)
    steps.prefill([0], [[3, 4, 5]], 0)
    steps.slots.write(0, 0, [torch.full_like(tensor, torch.nan) for tensor in steps.slots.read(0, 0, 3)])
    steps.slots.clear(0)
    steps.prefill([0], [[3, 4]], 0)
    torch.testing.assert_close(steps.decode([5], [2])[0], expected(made, [3, 4, 5]))


@pytest.mark.parametrize("name", ["mamba", "t5"])
def test_models_that_keep_something_else_are_not_for_slots(name: str) -> None:
    made = TINY_MODELS[name].base()
    assert isinstance(made, PreTrainedModel)
    assert stepper_for(made) is None
