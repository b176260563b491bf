from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import TopPLogitsWarper

from models_registry.base_models.generation import parse_parameters
from models_registry.base_models.processors import Draw, TopP, processors_of

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


@pytest.mark.parametrize(("raw", "kept"), [({"top_k": 2}, 2), ({"top_p": 0.5}, 1), ({"min_p": 0.3}, 2), ({}, 5)])
def test_sampling_keeps_to_the_likeliest_tokens(raw: dict[str, Any], kept: int) -> None:
    hot = {"do_sample": True, "temperature": 1.0, **raw}
    drawn = {int(scored(hot | {"seed": seed}, []).argmax()) for seed in range(100)}
    assert drawn == set(LOGITS[0].topk(kept).indices.tolist())


def test_a_draw_follows_from_the_seed_and_the_place() -> None:
    sample = {"do_sample": True, "seed": 5}
    assert torch.equal(scored(sample, [], place=1), scored(sample, [], place=1))
    assert not torch.equal(scored(sample, [], place=1), scored(sample, [], place=0))
    assert not torch.equal(scored(sample | {"seed": None}, []), scored(sample | {"seed": None}, []))


def test_draws_follow_the_softmax() -> None:
    scores = torch.tensor([1.0, float("-inf"), 0.0, -1.0, float("-inf")])
    drawn = Draw(torch.Generator().manual_seed(0))(torch.LongTensor(), scores.expand(20_000, -1)).argmax(-1)
    shares = drawn.bincount(minlength=5) / len(drawn)
    torch.testing.assert_close(shares, scores.softmax(-1), atol=0.02, rtol=0)
    assert shares[1] == shares[4] == 0


def test_a_draw_from_scores_without_a_softmax_is_no_number() -> None:
    scores = torch.full((1, 4), -torch.inf)
    assert Draw(torch.Generator().manual_seed(0))(torch.LongTensor(), scores).isnan().any()


@pytest.mark.parametrize("top_p", [0.01, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("scale", [0.01, 1.0, 5.0])
def test_top_p_keeps_what_transformers_keeps(top_p: float, scale: float) -> None:
    scores = torch.randn(4, 3000, generator=torch.Generator().manual_seed(0)) * scale
    ours, theirs = (process(torch.LongTensor(), scores) for process in (TopP(top_p), TopPLogitsWarper(top_p)))
    # Sums of many small numbers differ in their last digits by the order in which they are added.
    assert int((ours.isfinite() != theirs.isfinite()).sum(-1).max()) <= 3


def test_the_smallest_divisors_leave_numbers() -> None:
    raw = {"do_sample": True, "seed": 0, "temperature": 1e-300, "repetition_penalty": 1e-300}
    assert scored(raw, []).isfinite().tolist() == [False, True, False, False, False]
