"""A transformers config of any model type, made so small that its model is built and run in a moment."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from transformers import PreTrainedConfig

# The first pattern that matches the whole name of a number gives the number; widths, heads and groups divide others.
SIZES: tuple[tuple[str, int], ...] = (
    (r".*(vocab_size|num_embeddings)", 128),
    (r".*(max_position_embeddings|max_(source|target)_positions|n_positions|n_ctx|max_position)", 64),
    (r".*type_vocab_size", 2),
    (r"num_key_value_heads|num_kv_heads|.*_key_value_heads|multi_query_group_num|n_head_kv", 2),
    (r".*(attention_heads|num_heads|n_heads|n_head|nhead|encoder_num_heads|decoder_num_heads|num_head)", 4),
    (r"(qk_nope|v)_head_dim|.*head_dim|d_kv|.*head_size|kv_channels|attention_head_dim", 8),
    (r"qk_rope_head_dim|rotary_dim", 8),
    (r"(q|kv|o)_lora_rank|.*lora_rank.*|.*low_rank.*", 8),
    (
        r".*(ffn_dim|intermediate_size|d_ff|ff_dim|feed_forward_dim|hidden_dim|mlp_dim|inner_dim|n_inner|d_inner|ffn_hidden_size|.*intermediate_dim)",
        48,
    ),
    (
        r".*(hidden_size|d_model|n_embd|embed_dim|embedding_size|projection_dim|d_latents|emb_dim|hidden_channels|.*embedding_dim|word_embed_proj_dim|.*hidden_dim|dim|decoder_hidden_size)",
        32,
    ),
    (
        r".*(num_hidden_layers|num_layers|n_layers?|.*_layers|num_blocks|.*depth|num_self_attends_per_block|num_.*layers|.*num_blocks)",
        2,
    ),
    (r"num_local_experts|num_experts|n_routed_experts|moe_num_experts|.*num_experts", 4),
    (r"num_experts_per_tok|num_experts_per_token|moe_topk|.*topk|.*top_k", 2),
    (r"n_group|topk_group|n_shared_experts", 1),
    (r"moe_intermediate_size|.*shared_expert_intermediate_size", 16),
    (r"image_size|input_size|img_size", 32),
    (r"patch_size", 8),
    (r".*num_queries|num_latents|.*query_tokens|.*query_num", 4),
    (r"num_mel_bins|num_mel_filters|.*n_mels", 16),
)
SMALL = 64


def tiny_config(config_class: type[PreTrainedConfig], **changes: Any) -> PreTrainedConfig:
    """The config's own defaults with every width, depth and table cut down, those of nested configs too."""
    return config_class.from_dict({**_shrunk(config_class().to_dict()), **changes})


def _shrunk(values: Mapping[str, Any]) -> dict[str, Any]:
    vocab = any(re.fullmatch(SIZES[0][0], name) for name in values)
    return dict(_entries(values, vocab))


def _entries(values: Mapping[str, Any], vocab: bool) -> Iterator[tuple[str, Any]]:
    layers = 2
    for name, value in values.items():
        if name == "d_head":
            yield name, 8
        elif name in {"transformers_version", "id2label", "label2id", "rope_parameters", "rope_scaling"}:
            yield name, value
        elif isinstance(value, Mapping):
            yield name, _shrunk(value)
        elif isinstance(value, bool) or value is None or isinstance(value, str | float):
            yield name, value
        elif name == "layer_types" or name.endswith("layer_types"):
            yield name, value[:layers]
        elif name.endswith(("_token_id", "_token_index")):
            yield name, _token(value)
        elif isinstance(value, int):
            yield name, _number(name, value)
        elif isinstance(value, list | tuple) and value and all(type(one) is int for one in value):
            yield name, [_number(name.removesuffix("s"), one) if one > SMALL else one for one in value]
        else:
            yield name, value


def _token(value: Any) -> Any:
    if isinstance(value, int):
        return value if 0 <= value < 100 else 100 + value % 20
    return value


def _number(name: str, value: int) -> int:
    for pattern, size in SIZES:
        if re.fullmatch(pattern, name):
            return min(value, size) if value > 0 else value
    return value
