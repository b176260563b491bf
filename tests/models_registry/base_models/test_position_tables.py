"""What a model can look up, beside what transformers itself runs: it answers at the bound, and not one token later."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertModel,
    BloomConfig,
    BloomForCausalLM,
    CLIPConfig,
    CLIPTextConfig,
    CLIPTextModel,
    DebertaConfig,
    DebertaModel,
    FSMTConfig,
    FSMTForConditionalGeneration,
    GPTJConfig,
    GPTJForCausalLM,
    LEDConfig,
    LEDForConditionalGeneration,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5EncoderModel,
    XLNetConfig,
    XLNetModel,
)
from word_models import bert_config, tiny_llama

from models_registry.base_models.model_config import pad_token_of, set_pad_token
from models_registry.base_models.token_ids import tables_of

ENCODER: dict[str, Any] = {
    "vocab_size": 30,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
TWO_PARTS: dict[str, Any] = {
    "vocab_size": 30,
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
}
VISION: dict[str, Any] = {**ENCODER, "image_size": 16, "patch_size": 4}

WITH_A_TABLE: dict[str, tuple[Callable[[], PreTrainedModel], int]] = {
    "bert": (lambda: BertModel(bert_config()), 16),
    "roberta": (lambda: RobertaModel(RobertaConfig(**ENCODER, max_position_embeddings=12, pad_token_id=1)), 10),
    "opt": (
        lambda: OPTForCausalLM(
            OPTConfig(
                vocab_size=30,
                hidden_size=16,
                ffn_dim=24,
                num_hidden_layers=1,
                num_attention_heads=2,
                max_position_embeddings=9,
                word_embed_proj_dim=16,
            )
        ),
        9,
    ),
    "clip text": (
        lambda: CLIPTextModel(
            CLIPTextConfig(**ENCODER, max_position_embeddings=11, eos_token_id=2, bos_token_id=1, pad_token_id=0)
        ),
        11,
    ),
    "gptj": (
        lambda: GPTJForCausalLM(
            GPTJConfig(vocab_size=30, n_positions=8, n_embd=16, n_layer=1, n_head=2, n_inner=24, rotary_dim=4)
        ),
        8,
    ),
    "bart": (lambda: BartForConditionalGeneration(BartConfig(**TWO_PARTS, max_position_embeddings=7)), 7),
}
WITHOUT_ONE: dict[str, Callable[[], PreTrainedModel]] = {
    "xlnet": lambda: XLNetModel(XLNetConfig(vocab_size=30, d_model=16, n_layer=1, n_head=2, d_inner=24)),
    "t5": lambda: T5EncoderModel(T5Config(vocab_size=30, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2)),
    "bloom": lambda: BloomForCausalLM(BloomConfig(vocab_size=30, hidden_size=16, n_layer=1, n_head=2)),
    "llama": tiny_llama,
    "fsmt": lambda: FSMTForConditionalGeneration(
        FSMTConfig(**TWO_PARTS, langs=["en", "de"], src_vocab_size=30, tgt_vocab_size=30, max_position_embeddings=5)
    ),
}


def run(model: PreTrainedModel, length: int) -> None:
    with torch.inference_mode():
        model.eval()(input_ids=torch.full((1, length), 3))


@pytest.mark.parametrize("name", WITH_A_TABLE)
def test_a_bound_is_where_transformers_itself_ends(name: str) -> None:
    make, limit = WITH_A_TABLE[name]
    model = make()
    assert tables_of(model).inputs.positions == limit
    run(model, limit)
    with pytest.raises((IndexError, RuntimeError, ValueError)):
        run(model, limit + 1)


@pytest.mark.parametrize("name", WITHOUT_ONE)
def test_a_model_without_a_position_table_has_no_bound(name: str) -> None:
    model = WITHOUT_ONE[name]()
    assert tables_of(model).inputs.positions is None
    run(model, 40)


def test_the_two_parts_of_a_model_have_bounds_of_their_own() -> None:
    config = LEDConfig(
        **TWO_PARTS, max_encoder_position_embeddings=24, max_decoder_position_embeddings=6, attention_window=4
    )
    tables = tables_of(LEDForConditionalGeneration(config))
    assert (tables.inputs.positions, tables.decoder.positions) == (24, 6)


def test_a_vision_towers_positions_are_not_the_texts() -> None:
    tables = tables_of(llava())
    assert (tables.inputs.tokens, tables.inputs.positions) == (30, None)


def test_a_config_that_counts_no_segments_bounds_none() -> None:
    model = DebertaModel(DebertaConfig(**ENCODER, type_vocab_size=0))
    assert tables_of(model).segments is None
    assert tables_of(BertModel(bert_config())).segments == 2


def llava() -> LlavaForConditionalGeneration:
    text = {"model_type": "llama", **ENCODER, "num_key_value_heads": 1, "max_position_embeddings": 64}
    vision = {"model_type": "clip_vision_model", **VISION}
    return LlavaForConditionalGeneration(
        LlavaConfig(text_config=text, vision_config=vision, image_token_index=29, vision_feature_layer=-1)
    )


def test_a_composite_config_has_its_texts_padding_token() -> None:
    model = llava()
    assert not hasattr(CLIPConfig(), "pad_token_id")
    assert pad_token_of(model) is None
    set_pad_token(model, 5)
    assert model.config.get_text_config().pad_token_id == 5
    assert pad_token_of(model) == 5


def test_a_padding_token_that_a_config_has_stays() -> None:
    model = LlamaForCausalLM(tiny_llama().config)
    model.config.pad_token_id = 7
    set_pad_token(model, 5)
    assert pad_token_of(model) == 7
