"""Models that aren't plain decoders write texts all the same, each row with its own adapter."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import torch
from engines import TIMEOUT_S
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GenerationMixin,
    MambaConfig,
    MambaForCausalLM,
    PreTrainedModel,
    RecurrentGemmaConfig,
    RecurrentGemmaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
    WhisperConfig,
    WhisperForConditionalGeneration,
)
from word_models import WORDS, word_tokenizer
from writing import WritingHost

from models_registry.errors import Conflict, Invalid
from models_registry.inputs.values import Inputs
from service.protocol.texts import TextPart
from service.protocol.types import BASE, HostAnswer

SPECIAL: Mapping[str, Any] = {"vocab_size": len(WORDS), "pad_token_id": 0, "eos_token_id": 2, "bos_token_id": 1}
TWO_PARTS: Mapping[str, Any] = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "init_std": 0.5,
    "decoder_start_token_id": 1,
    **SPECIAL,
}


def t5() -> PreTrainedModel:
    size: dict[str, Any] = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2}
    size |= {"initializer_factor": 3.0, "decoder_start_token_id": 1}
    return T5ForConditionalGeneration(T5Config(**size, **SPECIAL))


def bart() -> PreTrainedModel:
    return BartForConditionalGeneration(BartConfig(max_position_embeddings=16, **TWO_PARTS))


def mamba() -> PreTrainedModel:
    size = {"hidden_size": 16, "state_size": 4, "num_hidden_layers": 2, "initializer_range": 0.5}
    return MambaForCausalLM(MambaConfig(**size, **SPECIAL))


def recurrent_gemma() -> PreTrainedModel:
    """Keeps in its own attributes what it has read."""
    size = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "head_dim": 8}
    size |= {"lru_width": 16, "attention_window_size": 16, "num_key_value_heads": 1, "w_init_variance_scale": 20.0}
    model = RecurrentGemmaForCausalLM(RecurrentGemmaConfig(**size, **SPECIAL))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    return model


def whisper() -> PreTrainedModel:
    sizes = {"num_mel_bins": 4, "max_source_positions": 6, "max_target_positions": 10}
    return WhisperForConditionalGeneration(WhisperConfig(**sizes, **TWO_PARTS))


WRITERS: Mapping[str, tuple[Callable[[], PreTrainedModel], str, list[str]]] = {
    "t5": (t5, "text2text-generation", ["q", "v", "wo"]),
    "bart": (bart, "text2text-generation", ["q_proj", "fc2"]),
    "mamba": (mamba, "text-generation", ["x_proj", "in_proj"]),
}


class Started:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._hosts: list[WritingHost] = []

    def host(self, build: Callable[[], PreTrainedModel], task: str) -> WritingHost:
        torch.manual_seed(0)
        self._hosts.append(WritingHost(self._directory, tokenizer=word_tokenizer(), model=build(), task=task))
        return self._hosts[-1]

    def end(self) -> None:
        for host in self._hosts:
            host.host.end(Conflict("the test is over"))


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    started = Started(tmp_path)
    yield started
    started.end()


@pytest.mark.parametrize("name", WRITERS)
def test_texts_are_those_of_transformers_and_written_token_by_token(started: Started, name: str) -> None:
    build, task, _ = WRITERS[name]
    writing = started.host(build, task)
    parts: list[TextPart] = []
    answer = writing.ask("a b c", "d e", on_part=parts.append, max_new_tokens=6, min_new_tokens=6).result(TIMEOUT_S)
    assert answer.outputs["text"] == writing.generate("a b c", "d e", max_new_tokens=6, min_new_tokens=6)
    assert ["".join(part.text for part in parts if part.row == row) for row in range(2)] == [*answer.outputs["text"]]
    assert [(text.prompt_tokens, text.tokens) for text in answer.texts] == [(3, 6), (2, 6)]
    assert len(parts) > 4


@pytest.mark.parametrize("name", WRITERS)
def test_each_row_is_written_with_its_own_adapter(started: Started, name: str) -> None:
    build, task, targets = WRITERS[name]
    writing = started.host(build, task)
    how: dict[str, Any] = {"max_new_tokens": 6, "min_new_tokens": 6}
    adapters = (*(writing.adapter(name, seed, target_modules=targets) for seed, name in enumerate("xy")), BASE)
    alone = [writing.write("a b c", adapters=(adapter,), **how)[0] for adapter in adapters]
    assert len(set(alone)) > 1
    assert writing.write("a b c", "a b c", "a b c", adapters=adapters, **how) == tuple(alone)


def test_speech_is_written_down_by_a_decoder_that_begins_by_itself(started: Started) -> None:
    writing = started.host(whisper, "automatic-speech-recognition")
    sound = torch.rand(2, 4, 12, generator=torch.Generator().manual_seed(1))
    parts: list[TextPart] = []
    answer = writing.ask_with(Inputs({"input_features": sound}), parts.append, max_new_tokens=5).result(TIMEOUT_S)
    torch.manual_seed(0)
    model: Any = whisper().eval()
    mixin: Any = GenerationMixin
    tokens = mixin.generate(model, input_features=sound, max_new_tokens=5, do_sample=False)
    expected = word_tokenizer().batch_decode(tokens[:, 1:], skip_special_tokens=True)
    assert answer.outputs["text"] == tuple(expected)
    assert ["".join(part.text for part in parts if part.row == row) for row in range(2)] == expected


def test_speech_is_asked_for_by_its_features_and_not_by_a_text(started: Started) -> None:
    writing = started.host(whisper, "automatic-speech-recognition")
    with pytest.raises(Invalid, match="named tensors") as caught:
        writing.write("a b", max_new_tokens=5)
    assert [fault.loc for fault in caught.value.faults] == [("inputs", "text")]
    with pytest.raises(Invalid, match="input_features"):
        writing.ask_with(Inputs({"sound": torch.zeros(1, 4, 12)}), max_new_tokens=5).result(TIMEOUT_S)


def test_forwards_between_two_tokens_do_not_disturb_a_module_that_keeps_state(started: Started) -> None:
    writing = started.host(recurrent_gemma, "text-generation")
    alone = writing.write("a b c d e", max_new_tokens=8, ignore_eos=True)
    forwards: list[Future[HostAnswer]] = []

    def hear(part: TextPart) -> None:
        forwards.append(writing.run("f g h"))

    beside = writing.ask("a b c d e", on_part=hear, max_new_tokens=8, ignore_eos=True).result(TIMEOUT_S)
    assert beside.outputs["text"] == alone
    answers = [forward.result(TIMEOUT_S).outputs["next_token"] for forward in forwards]
    assert len(answers) > 2
    assert answers == [writing.run("f g h").result(TIMEOUT_S).outputs["next_token"]] * len(answers)
