from collections.abc import Callable
from pathlib import Path

import gguf
import torch
from tolerance import assert_same_in_float32
from transformers import LlamaForCausalLM

from models_registry.base_models.huggingface import HuggingFaceSpec
from models_registry.inputs.values import Inputs

WORDS = ["[PAD]", "[UNK]", "[EOS]", *"abcdefghijklmnopqrstuvwxyz"]

# transformers' name of a layer's weight -> GGUF's
LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(model: LlamaForCausalLM, file: Path) -> None:
    config = model.config
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads or 1)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(WORDS)
    writer.add_token_merges(["a b"])
    writer.add_token_types([3, 3, 3] + [1] * (len(WORDS) - 3))
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    weights = model.state_dict()
    names = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    for layer in range(config.num_hidden_layers):
        names |= {f"model.layers.{layer}.{name}": f"blk.{layer}.{short}" for name, short in LAYER_NAMES.items()}
    for name, short in names.items():
        weight = weights[f"{name}.weight"]
        heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads or 1}
        if (count := heads.get(short.rpartition(".")[2])) is not None:  # GGUF interleaves the halves that rotate
            weight = weight.view(count, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)
        writer.add_tensor(f"{short}.weight", weight.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_file_gives_what_the_model_it_was_written_from_gives(
    opened: Callable[..., HuggingFaceSpec], root: Path, llama: Path
) -> None:
    model = LlamaForCausalLM.from_pretrained(llama)
    model.resize_token_embeddings(len(WORDS))
    write_gguf(model, root / "llama" / "llama.gguf")
    spec = opened(llama, file="llama.gguf")
    module = spec.build(torch.device("cpu"), torch.float32)
    ids = torch.tensor([[3, 4, 5, 6, 7]])
    outputs = spec.forward(module, spec.read(module, Inputs({"input_ids": ids})))
    assert spec.task == "text-generation"
    assert isinstance(outputs["logits"], torch.Tensor)
    assert_same_in_float32(outputs["logits"], model(ids).logits.detach())
    assert spec.generate(module, Inputs(texts=("abc",)), {"max_new_tokens": 4}, lambda: False)
