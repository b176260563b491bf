import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tolerance import assert_same_in_float32

from models_registry.base_models.pooling import Pooling, read_pooling
from models_registry.errors import Invalid, Unsupported

HIDDEN = torch.tensor([[[1.0, 5.0], [3.0, -1.0], [9.0, 9.0]]])  # one row of two tokens and a padding
MASK = torch.tensor([[1, 1, 0]])


def write(directory: Path, steps: list[str], **modes: Any) -> Path:
    (directory / "1_Pooling").mkdir()
    (directory / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 2, **modes}))
    modules = [{"type": f"sentence_transformers.models.{step}", "path": f"1_{step}"} for step in steps]
    (directory / "modules.json").write_text(json.dumps(modules))
    return directory


def test_without_files_it_is_the_mean_over_the_tokens(tmp_path: Path) -> None:
    assert read_pooling(tmp_path).embed(HIDDEN, MASK).tolist() == [[2.0, 2.0]]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("cls_token", [1.0, 5.0]),
        ("mean_tokens", [2.0, 2.0]),
        ("max_tokens", [3.0, 5.0]),
        ("mean_sqrt_len_tokens", [4 / 2**0.5, 4 / 2**0.5]),
        ("lasttoken", [3.0, -1.0]),
    ],
)
def test_a_models_own_files_choose_the_pooling(tmp_path: Path, mode: str, expected: list[float]) -> None:
    pooling = read_pooling(write(tmp_path, ["Transformer", "Pooling"], **{f"pooling_mode_{mode}": True}))
    assert_same_in_float32(pooling.embed(HIDDEN, MASK), torch.tensor([expected]))


def test_the_first_token_of_a_left_padded_row_is_not_its_padding() -> None:
    pooling = Pooling(("pooling_mode_cls_token",))
    assert pooling.embed(HIDDEN, torch.tensor([[0, 1, 1]])).tolist() == [[3.0, -1.0]]


def test_several_poolings_are_joined_in_one_order(tmp_path: Path) -> None:
    modes = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True, "pooling_mode_max_tokens": False}
    pooling = read_pooling(write(tmp_path, ["Transformer", "Pooling"], **modes))
    assert pooling.embed(HIDDEN, MASK).tolist() == [[1.0, 5.0, 2.0, 2.0]]


def test_a_normalize_step_gives_length_one(tmp_path: Path) -> None:
    pooling = read_pooling(write(tmp_path, ["Transformer", "Pooling", "Normalize"], pooling_mode_mean_tokens=True))
    assert_same_in_float32(pooling.embed(HIDDEN, MASK).norm(dim=1), torch.ones(1))


@pytest.mark.parametrize("modes", [{}, {"pooling_mode_weightedmean_tokens": True}])
def test_a_pooling_that_we_do_not_know_is_refused(tmp_path: Path, modes: dict[str, bool]) -> None:
    with pytest.raises(Unsupported):
        read_pooling(write(tmp_path, ["Transformer", "Pooling"], **modes))


def test_a_step_that_we_would_leave_out_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="Dense"):
        read_pooling(write(tmp_path, ["Transformer", "Pooling", "Dense"], pooling_mode_mean_tokens=True))


@pytest.mark.parametrize("modules", ["{", "[1]", "[{}]", '[{"type": "Pooling", "path": "nowhere"}]'])
def test_files_that_can_not_be_read_are_the_sources_fault(tmp_path: Path, modules: str) -> None:
    (tmp_path / "modules.json").write_text(modules)
    with pytest.raises(Invalid, match=r"modules\.json") as caught:
        read_pooling(tmp_path)
    assert caught.value.faults[0].loc == ("source", "path")
