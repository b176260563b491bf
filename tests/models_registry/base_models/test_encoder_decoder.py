"""Encoder-decoder models by text and by tensors, beside transformers' own forward and `generate`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    CLIPConfig,
    CLIPModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
    WhisperConfig,
    WhisperForConditionalGeneration,
)
from word_models import WORDS, save

from models_registry.base_models.huggingface import HuggingFaceSpec
from models_registry.errors import Invalid
from models_registry.inputs.values import Inputs

Open = Callable[..., HuggingFaceSpec]
SPECIAL: dict[str, Any] = {"pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 1}
TWO_PARTS: dict[str, Any] = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "init_std": 0.5,
    **SPECIAL,
}


@pytest.fixture
def t5(root: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(WORDS), d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2, initializer_factor=3.0, **SPECIAL
    )
    return save(T5ForConditionalGeneration(config), tokenizer, root / "t5")


@pytest.fixture
def bart(root: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    torch.manual_seed(0)
    config = BartConfig(vocab_size=len(WORDS), max_position_embeddings=16, bos_token_id=1, **TWO_PARTS)
    return save(BartForConditionalGeneration(config), tokenizer, root / "bart")


def built(spec: HuggingFaceSpec) -> tuple[HuggingFaceSpec, nn.Module]:
    return spec, spec.build(torch.device("cpu"), None)


@torch.inference_mode()
def forward(spec: HuggingFaceSpec, module: nn.Module, inputs: Inputs) -> Tensor:
    logits = spec.forward(module, spec.read(module, inputs))["logits"]
    assert isinstance(logits, Tensor)
    return logits


def generated(path: Path, cls: type[PreTrainedModel], tokenizer: PreTrainedTokenizerFast, text: str) -> str:
    model: Any = cls.from_pretrained(path)
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    tokens = model.generate(ids, max_new_tokens=6, do_sample=False, num_beams=1)
    return str(tokenizer.decode(tokens[0, 1:], skip_special_tokens=True))


def never() -> bool:
    return False


@pytest.mark.parametrize(("name", "cls"), [("t5", T5ForConditionalGeneration), ("bart", BartForConditionalGeneration)])
def test_texts_are_rewritten_as_transformers_does_it_alone(
    request: pytest.FixtureRequest, opened: Open, tokenizer: PreTrainedTokenizerFast, name: str, cls: Any
) -> None:
    path: Path = request.getfixturevalue(name)
    spec, module = built(opened(path))
    texts = ["a b c", "d", "e f g h i"]
    expected = tuple(generated(path, cls, tokenizer, text) for text in texts)
    assert spec.task == "text2text-generation"
    assert spec.generate(module, Inputs(texts=tuple(texts)), {"max_new_tokens": 6}, never) == expected
    assert len(set(expected)) > 1


def test_a_text_is_written_no_longer_than_the_decoders_table(opened: Open, bart: Path) -> None:
    spec, module = built(opened(bart))
    assert spec.generate(module, Inputs(texts=("a b",)), {"max_new_tokens": 40, "min_new_tokens": 40}, never)


def test_a_decoder_that_gets_nothing_is_what_is_missing(opened: Open, t5: Path) -> None:
    spec, module = built(opened(t5))
    for inputs in (Inputs({"input_ids": torch.tensor([[3, 4]])}), Inputs(texts=("a b",))):
        with pytest.raises(Invalid, match=r"decoder_input_ids is missing.*\[\[1\]\].*text2text-generation") as caught:
            forward(spec, module, inputs)
        assert [fault.loc for fault in caught.value.faults] == [("inputs", "decoder_input_ids")]


def test_a_model_that_shifts_its_inputs_needs_no_decoder_inputs(opened: Open, bart: Path) -> None:
    spec, module = built(opened(bart))
    expected = BartForConditionalGeneration.from_pretrained(bart)(input_ids=torch.tensor([[5, 6]])).logits
    torch.testing.assert_close(forward(spec, module, Inputs({"input_ids": torch.tensor([[5, 6]])})), expected.detach())


def test_the_example_of_an_encoder_decoder_model_begins_its_answers(opened: Open, t5: Path) -> None:
    spec, module = built(opened(t5))
    rows = spec.example(module)
    assert rows is not None
    assert rows.tensors["decoder_input_ids"].tolist() == [[1], [1], [1]]
    assert "logits" in spec.forward(module, rows)


def test_speech_without_decoder_inputs_says_that_these_are_missing(opened: Open, root: Path) -> None:
    config = WhisperConfig(
        vocab_size=40, num_mel_bins=4, max_source_positions=6, max_target_positions=10, bos_token_id=1, **TWO_PARTS
    )
    WhisperForConditionalGeneration(config).save_pretrained(root / "whisper")
    spec, module = built(opened(root / "whisper"))
    with pytest.raises(Invalid, match="decoder_input_ids is missing") as caught:
        forward(spec, module, Inputs({"input_features": torch.zeros(1, 4, 12)}))
    assert "both" not in str(caught.value)
    too_long = Inputs({"input_features": torch.zeros(1, 4, 12), "decoder_input_ids": torch.full((1, 11), 3)})
    with pytest.raises(Invalid) as caught:
        spec.read(module, too_long)
    assert [fault.loc for fault in caught.value.faults] == [("inputs", "decoder_input_ids")]


def test_what_else_a_forward_takes_is_named_before_the_librarys_words(opened: Open, root: Path) -> None:
    part = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**part, "vocab_size": 40, "eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 0}
    config = CLIPConfig(text_config=text, vision_config={**part, "image_size": 8, "patch_size": 4}, projection_dim=8)
    CLIPModel(config).save_pretrained(root / "clip")
    spec, module = built(opened(root / "clip"))
    with pytest.raises(Invalid, match=r"can't run on input_ids as sent.*pixel_values.*It said"):
        forward(spec, module, Inputs({"input_ids": torch.tensor([[3, 2]])}))


def test_new_tokens_that_leave_no_room_are_named_as_the_cause(opened: Open, llama: Path) -> None:
    spec, module = built(opened(llama))
    with pytest.raises(Invalid) as caught:
        spec.generate(module, Inputs(texts=("a " * 20,)), {"max_new_tokens": 20}, never)
    assert "at most 12" in caught.value.faults[0].message
