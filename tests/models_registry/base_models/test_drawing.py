from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LogitsProcessor, MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from models_registry.base_models.drawing import Draw
from models_registry.base_models.generation import parse_parameters

NO_IDS = torch.LongTensor()


def drawing(raw: dict[str, Any]) -> Draw:
    return Draw(parse_parameters({"do_sample": True, **raw}), torch.Generator().manual_seed(0))


def drawn(draw: Draw, scores: Tensor, times: int) -> Tensor:
    return torch.stack([draw(NO_IDS, scores).argmax() for _ in range(times)])


@pytest.mark.parametrize("raw", [{}, {"top_k": 4}, {"temperature": 2.0, "min_p": 1e-6}])
def test_draws_follow_the_softmax(raw: dict[str, Any]) -> None:
    scores = torch.tensor([[1.0, float("-inf"), 0.0, -1.0, float("-inf")]])
    shares = drawn(drawing(raw), scores, 5000).bincount(minlength=5) / 5000
    expected = (scores[0] / raw.get("temperature", 1.0)).softmax(-1)
    torch.testing.assert_close(shares, expected, atol=0.03, rtol=0)
    assert shares[1] == shares[4] == 0


def kept_by_transformers(raw: dict[str, Any], scores: Tensor) -> set[int]:
    processors: list[LogitsProcessor] = []
    if "top_k" in raw:
        processors.append(TopKLogitsWarper(raw["top_k"]))
    if "top_p" in raw:
        processors.append(TopPLogitsWarper(raw["top_p"]))
    if "min_p" in raw:
        processors.append(MinPLogitsWarper(raw["min_p"]))
    for process in processors:
        scores = process(NO_IDS, scores)  # pyright: ignore[reportArgumentType] - torch has one Tensor
    return set(scores[0].isfinite().nonzero()[:, 0].tolist())


@pytest.mark.parametrize(
    "raw",
    [
        {"top_k": 1},
        {"top_k": 40},
        {"top_k": 5000},
        {"top_p": 0.01},
        {"top_p": 0.9},
        {"min_p": 0.05},
        {"min_p": 1.0},
        {"top_k": 300, "top_p": 0.7},
        {"top_k": 40, "top_p": 0.9, "min_p": 0.1},
        {"top_p": 0.8, "min_p": 0.001},
    ],
)
@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0])
def test_as_many_tokens_are_kept_as_transformers_keeps(raw: dict[str, Any], scale: float) -> None:
    scores = torch.randn(1, 3000, generator=torch.Generator().manual_seed(0)) * scale
    shares, tokens = drawing(raw).kept(scores)
    assert tokens is not None
    ours, theirs = set(tokens[shares > 0].tolist()), kept_by_transformers(raw, scores)
    # Sums of many small numbers differ in their last digits by the order in which they are added.
    assert len(ours ^ theirs) <= 3


def test_what_is_kept_is_drawn_by_its_own_shares() -> None:
    scores = torch.tensor([[0.0, 3.0, 1.0, 2.0]])
    shares = drawn(drawing({"top_k": 3, "top_p": 0.9}), scores, 3000).bincount(minlength=4) / 3000
    expected = torch.tensor([-torch.inf, 3.0, -torch.inf, 2.0]).softmax(-1)
    torch.testing.assert_close(shares, expected, atol=0.03, rtol=0)


@pytest.mark.parametrize("raw", [{}, {"top_k": 2}, {"top_p": 0.5, "min_p": 0.1}])
@pytest.mark.parametrize("broken", [float("nan"), float("-inf")])
def test_a_draw_from_scores_without_a_softmax_is_no_number(raw: dict[str, Any], broken: float) -> None:
    assert drawing(raw)(NO_IDS, torch.full((1, 4), broken)).isnan().any()
