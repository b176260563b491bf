from typing import Any

import torch
from torch import Tensor

from models_registry.base_models.generation import parse_parameters
from models_registry.base_models.processors import processors_of

CPU = torch.device("cpu")
PROMPT = [1, 2, 1]
LOGITS = torch.tensor([[2.0, 1.0, 0.5, -1.0, 0.0]])


def scored(raw: dict[str, Any], written: list[int], ends: tuple[int, ...] = (), place: int = 0) -> Tensor:
    processors = processors_of(parse_parameters(raw), len(PROMPT), ends, place, CPU)
    return processors(torch.tensor([[*PROMPT, *written]]), LOGITS)[0]


def test_plain_greedy_needs_no_processor() -> None:
    assert processors_of(parse_parameters({"seed": 1, "top_k": 3, "temperature": 2.0}), 3, (0,), 0, CPU).are_none


def test_presence_and_frequency_count_written_tokens_alone() -> None:
    scores = scored({"presence_penalty": 0.5, "frequency_penalty": 0.25}, [3, 3, 0])
    assert torch.equal(LOGITS[0] - scores, torch.tensor([0.75, 0, 0, 1.0, 0]))


def test_a_repetition_counts_in_the_prompt_too() -> None:
    assert torch.equal(scored({"repetition_penalty": 2.0}, [3]), torch.tensor([2.0, 0.5, 0.25, -2.0, 0.0]))


def test_a_bias_moves_its_tokens_alone() -> None:
    assert torch.equal(scored({"logit_bias": {"3": 4.0, 0: -1}}, []), torch.tensor([1.0, 1.0, 0.5, 3.0, 0.0]))


def test_no_end_is_written_before_the_least_number_of_tokens() -> None:
    least = {"min_new_tokens": 2}
    assert scored(least, [3], (0, 99)).isneginf().tolist() == [True, False, False, False, False]
    assert torch.equal(scored(least, [3, 3], (0, 99)), LOGITS[0])


def test_a_draw_follows_from_the_seed_and_the_place() -> None:
    sample = {"do_sample": True, "seed": 5}
    assert torch.equal(scored(sample, [], place=1), scored(sample, [], place=1))
    assert not torch.equal(scored(sample, [], place=1), scored(sample, [], place=0))
    unseeded = {tuple(scored(sample | {"seed": None}, []).tolist()) for _ in range(100)}
    assert len(unseeded) > 1


def test_the_smallest_divisors_leave_numbers() -> None:
    raw = {"do_sample": True, "seed": 0, "temperature": 1e-300, "repetition_penalty": 1e-300}
    assert scored(raw, []).isfinite().tolist() == [False, True, False, False, False]
