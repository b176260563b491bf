"""Tiny models with random weights, of the architectures that people host: rows in, what belongs to rows out.

In float64, so that what differs is not rounding that grew through the layers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForSequenceClassification,
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

ROWS, TOKENS = 4, 7
DECODER: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
ENCODER: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "initializer_range": 0.2,
}


def ids(columns: int = TOKENS) -> Tensor:
    return torch.randint(3, 40, (ROWS, columns), generator=torch.Generator().manual_seed(2))


def numbers(*shape: int) -> Tensor:
    return torch.randn(ROWS, *shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def token_ids() -> dict[str, Tensor]:
    """With padding, on the left of the first row."""
    mask = torch.ones(ROWS, TOKENS, dtype=torch.long)
    mask[0, :2] = 0
    return {"input_ids": ids(), "attention_mask": mask}


def two_sided() -> dict[str, Tensor]:
    return {**token_ids(), "decoder_input_ids": ids(4)}


class MLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 8)
        self.fc2 = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(torch.relu(self.fc1(x)))


class CNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 6, 3, stride=2, dilation=1)
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.relu(self.conv2(torch.relu(self.norm(self.conv1(x))))).mean((2, 3)))


class Translator(nn.Module):
    """`nn.Transformer` between two projections."""

    def __init__(self) -> None:
        super().__init__()
        self.source = nn.Linear(4, 8)
        self.target = nn.Linear(4, 8)
        self.transformer = nn.Transformer(8, 2, 1, 1, 12, batch_first=True)
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(y.shape[1], dtype=x.dtype)
        return self.out(self.transformer(self.source(x), self.target(y), tgt_mask=mask))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Linear(4, 6)
        self.lstm = nn.LSTM(6, 6, batch_first=True)
        self.out = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.lstm(torch.tanh(self.into(x)))[1][0][-1])


@dataclass(frozen=True)
class TinyModel:
    """`targets` where PEFT has no default for a method; None where the method takes none of its layers.

    `outputs` are the names of what belongs to rows; of a bare tensor none is needed. `terms` are those that a model
    adds up in float32, whatever its dtype.
    """

    build: Callable[[], nn.Module]
    inputs: Callable[[], dict[str, Tensor]] = token_ids
    outputs: tuple[str, ...] = ("logits",)
    targets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    terms: int | None = None

    def base(self) -> nn.Module:
        torch.manual_seed(0)
        return self.build().double().eval()

    def run(self, model: nn.Module, batch: Mapping[str, Tensor]) -> list[Tensor]:
        with torch.no_grad():
            out = model(**batch)
        return [out] if isinstance(out, Tensor) else [out[name] for name in self.outputs]


def everywhere(*targets: str, feedforward: tuple[str, ...] = ()) -> dict[str, Mapping[str, Any]]:
    """The same targets for all three methods."""
    named = {"target_modules": list(targets)}
    return {"LORA": named, "ADALORA": named, "IA3": {**named, "feedforward_modules": list(feedforward)}}


TINY_MODELS: Mapping[str, TinyModel] = {
    "llama": TinyModel(lambda: LlamaForCausalLM(LlamaConfig(**DECODER))),
    "qwen2": TinyModel(lambda: Qwen2ForCausalLM(Qwen2Config(**DECODER))),
    "qwen3": TinyModel(lambda: Qwen3ForCausalLM(Qwen3Config(**DECODER, head_dim=8))),
    "gpt2": TinyModel(
        lambda: GPT2LMHeadModel(
            GPT2Config(
                vocab_size=40,
                n_positions=32,
                n_embd=16,
                n_layer=2,
                n_head=2,
                pad_token_id=0,
                bos_token_id=1,
                eos_token_id=2,
            )
        )
    ),
    "bert": TinyModel(lambda: BertForSequenceClassification(BertConfig(**ENCODER))),
    "distilbert": TinyModel(
        lambda: DistilBertForSequenceClassification(
            DistilBertConfig(vocab_size=40, dim=16, n_layers=2, n_heads=2, hidden_dim=24, initializer_range=0.2)
        ),
        targets=everywhere("q_lin", "v_lin", "lin2", feedforward=("lin2",)),
    ),
    "modernbert": TinyModel(
        lambda: ModernBertForMaskedLM(
            ModernBertConfig(
                **{**ENCODER, "num_hidden_layers": 3},  # pyright: ignore[reportArgumentType] - it looks at no key
                pad_token_id=0,
                bos_token_id=1,
                eos_token_id=2,
                cls_token_id=1,
                sep_token_id=2,
            )
        ),
        targets=everywhere("Wqkv", "mlp.Wo", feedforward=("mlp.Wo",)),
    ),
    "t5": TinyModel(
        lambda: T5ForConditionalGeneration(
            T5Config(vocab_size=40, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2)
        ),
        two_sided,
    ),
    "bart": TinyModel(
        lambda: BartForConditionalGeneration(
            BartConfig(
                vocab_size=40,
                d_model=16,
                encoder_layers=2,
                decoder_layers=2,
                encoder_attention_heads=2,
                decoder_attention_heads=2,
                encoder_ffn_dim=24,
                decoder_ffn_dim=24,
                init_std=0.2,
            )
        ),
        two_sided,
        targets={"IA3": {"target_modules": ["k_proj", "fc2"], "feedforward_modules": ["fc2"]}},
    ),
    "vit": TinyModel(
        lambda: ViTForImageClassification(
            ViTConfig(
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=24,
                image_size=8,
                patch_size=4,
                initializer_range=0.2,
            )
        ),
        lambda: {"pixel_values": numbers(3, 8, 8)},
        targets={
            "LORA": {"target_modules": ["patch_embeddings.projection", "q_proj", "v_proj", "classifier"]},
            "ADALORA": {"target_modules": ["patch_embeddings.projection", "v_proj"]},
            "IA3": {"target_modules": ["patch_embeddings.projection", "k_proj"], "feedforward_modules": []},
        },
    ),
    "clip": TinyModel(
        lambda: CLIPModel(
            CLIPConfig(
                text_config=CLIPTextConfig(**ENCODER, eos_token_id=2).to_dict(),
                vision_config=CLIPVisionConfig(
                    hidden_size=16,
                    num_hidden_layers=2,
                    num_attention_heads=2,
                    intermediate_size=24,
                    image_size=8,
                    patch_size=4,
                ).to_dict(),
                projection_dim=8,
            )
        ),
        lambda: {"input_ids": ids(), "pixel_values": numbers(3, 8, 8)},
        ("text_embeds", "image_embeds"),
        everywhere("q_proj", "v_proj", "fc2", "patch_embedding", "text_projection", feedforward=("fc2",)),
    ),
    "whisper": TinyModel(
        lambda: WhisperForConditionalGeneration(
            WhisperConfig(
                vocab_size=40,
                d_model=16,
                encoder_layers=2,
                decoder_layers=2,
                encoder_attention_heads=2,
                decoder_attention_heads=2,
                encoder_ffn_dim=24,
                decoder_ffn_dim=24,
                num_mel_bins=4,
                max_source_positions=6,
                max_target_positions=10,
                pad_token_id=0,
                bos_token_id=1,
                eos_token_id=2,
                decoder_start_token_id=1,
                init_std=0.2,
            )
        ),
        lambda: {"input_features": numbers(4, 12), "decoder_input_ids": ids(4)},
        targets={
            "LORA": {"target_modules": ["q_proj", "v_proj", "fc1", "embed_tokens"]},
            "ADALORA": {"target_modules": ["q_proj", "fc1"]},
            "IA3": {"target_modules": ["k_proj", "fc2"], "feedforward_modules": ["fc2"]},
        },
    ),
    "mamba": TinyModel(
        lambda: MambaForCausalLM(
            MambaConfig(
                vocab_size=40,
                hidden_size=16,
                state_size=4,
                num_hidden_layers=2,
                initializer_range=0.2,
                pad_token_id=0,
                bos_token_id=1,
                eos_token_id=2,
            )
        ),
        lambda: {"input_ids": ids()},
        targets={
            "LORA": {"target_modules": ["x_proj", "embeddings", "in_proj"]},
            "ADALORA": {"target_modules": ["x_proj", "in_proj"]},
            "IA3": {"target_modules": ["x_proj", "in_proj"], "feedforward_modules": ["x_proj"]},
        },
        terms=2 * (16 + 4 + 32 + TOKENS * 4 + 32) + 16,  # projections, convolution and scan of each layer, and the head
    ),
    "mlp": TinyModel(MLP, lambda: {"x": numbers(4)}, targets=everywhere("fc1", "fc2", feedforward=("fc2",))),
    "cnn": TinyModel(
        CNN, lambda: {"x": numbers(2, 6, 6)}, targets=everywhere("conv1", "conv2", "fc", feedforward=("conv2",))
    ),
    "transformer": TinyModel(
        Translator,
        lambda: {"x": numbers(6, 4), "y": numbers(5, 4)},
        targets={
            **everywhere("source", "linear1", "linear2", "out", feedforward=("linear2",)),
            "LORA": {"target_modules": ["source", "self_attn", "multihead_attn", "linear1", "linear2", "out"]},
        },
    ),
    "lstm": TinyModel(Recurrent, lambda: {"x": numbers(5, 4)}, targets=everywhere("into", "out")),
}
