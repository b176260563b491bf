"""A build error is one short line, whatever transformers lists."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from models_registry.base_models.load_errors import LONGEST, in_short
from models_registry.base_models.opening import open_spec
from models_registry.base_models.sources import SourcePolicy
from models_registry.errors import Invalid
from models_registry.records import HuggingFaceSource


def test_a_task_that_the_architecture_lacks_is_said_without_the_list_of_classes(tmp_path: Path) -> None:
    tiny = LlamaConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    LlamaForCausalLM(tiny).save_pretrained(tmp_path / "llama")
    spec = open_spec(HuggingFaceSource("llama"), "image-classification", SourcePolicy((tmp_path,), ()))
    with pytest.raises(Invalid) as caught:
        spec.build(torch.device("cpu"), None)
    assert "can't load llama: ValueError: Unrecognized configuration class" in str(caught.value)
    assert "LlamaConfig" in str(caught.value)
    assert caught.value.detail.endswith("instead of image-classification, or leave task out.")
    assert len(caught.value.detail) < 2 * LONGEST


def test_an_unknown_model_type_is_said_without_the_list_of_types(tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.json").write_text(json.dumps({"model_type": "nobody-knows"}))
    save_file({"x": torch.zeros(1)}, tmp_path / "odd" / "model.safetensors")
    with pytest.raises(Invalid, match=r"config\.json can't be read: .*nobody-knows") as caught:
        open_spec(HuggingFaceSource("odd"), None, SourcePolicy((tmp_path,), ()))
    assert len(caught.value.detail) < 2 * LONGEST


def test_a_long_text_is_cut() -> None:
    assert in_short(ValueError("a b\n" * 1_000)) == "ValueError: " + ("a b " * 75)[:LONGEST] + "…"
    assert in_short(KeyError()) == "KeyError"
