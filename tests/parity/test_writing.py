"""All architectures of the list that can generate do: as transformers' own `generate`, whole and token by token."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from engines import TIMEOUT_S
from parity.architectures import BUILDERS, architecture
from tiny_configs import tiny_config
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from word_models import word_tokenizer
from writing import WritingHost

from models_registry.errors import Conflict
from service.protocol.texts import TextPart

TWO_PARTS = ("t5", "bart")
WRITERS = [name for name in BUILDERS if "classifier" not in name and name != "bert"]
FEW = ("gpt2", "t5")
OTHERS = ("gemma2", "gpt_neox", "mistral", "mixtral", "olmo2", "phi3", "qwen2", "qwen3", "smollm3", "starcoder2")


class Started:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._hosts: list[WritingHost] = []

    def host(self, model: PreTrainedModel, task: str) -> WritingHost:
        self._hosts.append(WritingHost(self._directory, tokenizer=word_tokenizer(), model=model, task=task))
        return self._hosts[-1]

    def end(self) -> None:
        for writing in self._hosts:
            writing.host.end(Conflict("the test is over"))


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    started = Started(tmp_path)
    yield started
    started.end()


def check(writing: WritingHost) -> None:
    parts: list[TextPart] = []
    how: dict[str, Any] = {"max_new_tokens": 6, "min_new_tokens": 6}
    answer = writing.ask("a b c", "d e", on_part=parts.append, **how).result(TIMEOUT_S)
    assert answer.outputs["text"] == writing.generate("a b c", "d e", **how)
    assert ["".join(part.text for part in parts if part.row == row) for row in range(2)] == [*answer.outputs["text"]]
    assert [text.tokens for text in answer.texts] == [6, 6]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FEW else pytest.mark.deep) for name in WRITERS]
)
def test_an_architecture_of_the_list_writes_what_generate_writes(started: Started, name: str) -> None:
    model = deepcopy(architecture(name))
    if name == "t5":  # its own config says where a text begins in released checkpoints alone
        model.config.decoder_start_token_id = model.generation_config.decoder_start_token_id = 0
    check(started.host(model, "text2text-generation" if name in TWO_PARTS else "text-generation"))


@pytest.mark.deep
@pytest.mark.parametrize("model_type", OTHERS)
def test_other_decoders_write_what_generate_writes(started: Started, model_type: str) -> None:
    torch.manual_seed(0)
    config = tiny_config(CONFIG_MAPPING[model_type], pad_token_id=0, bos_token_id=1, eos_token_id=2)
    check(started.host(AutoModelForCausalLM.from_config(config), "text-generation"))


def test_none_that_can_generate_is_left_out() -> None:
    assert {name for name in BUILDERS if architecture(name).can_generate()} == {*WRITERS}
