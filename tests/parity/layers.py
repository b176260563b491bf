"""One target of every layer kind, in a float64 model small enough to read: `layer` is adapted, `after` is not."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.bart.modeling_bart import BartScaledWordEmbedding
from transformers.pytorch_utils import Conv1D


class Holder(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.after = nn.Linear(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


@dataclass(frozen=True)
class Layer:
    """`build` makes the layer, `shape` is its input's (token ids below 11 where `ids`), leading dimension first."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    ids: bool = False

    def base(self) -> nn.Module:
        torch.manual_seed(0)
        return Holder(self.build()).double().eval()

    def inputs(self, rows: int = 3) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(1)
        shape = (rows, *self.shape)
        if self.ids:
            return {"x": torch.randint(11, shape, generator=generator)}
        return {"x": torch.randn(shape, generator=generator, dtype=torch.float64) * 0.3}


LINEAR: Mapping[str, Layer] = {
    "linear": Layer(lambda: nn.Linear(5, 7), (4, 5)),
    "linear without bias": Layer(lambda: nn.Linear(5, 7, bias=False), (5,)),
    "hf_conv1d": Layer(lambda: Conv1D(7, 5), (4, 5)),
}
EMBEDDING: Mapping[str, Layer] = {
    "embedding": Layer(lambda: nn.Embedding(11, 6), (4,), ids=True),
    "embedding with padding": Layer(lambda: nn.Embedding(11, 6, padding_idx=0), (4,), ids=True),
    "scaled embedding": Layer(lambda: BartScaledWordEmbedding(11, 6, 0, embed_scale=3.0), (4,), ids=True),
}
CONV2D: Mapping[str, Layer] = {
    "conv2d": Layer(lambda: nn.Conv2d(4, 6, 3), (4, 6, 7)),
    "conv2d strided": Layer(lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0)), (4, 6, 7)),
    "conv2d same": Layer(lambda: nn.Conv2d(4, 6, 3, padding="same"), (4, 6, 7)),
    "conv2d 1x1 without bias": Layer(lambda: nn.Conv2d(4, 6, 1, bias=False), (4, 3, 3)),
}
CONV: Mapping[str, Layer] = {
    "conv1d": Layer(lambda: nn.Conv1d(4, 6, 3, padding=1), (4, 9)),
    "conv1d strided": Layer(lambda: nn.Conv1d(4, 6, 3, stride=2), (4, 9)),
    "conv3d": Layer(lambda: nn.Conv3d(4, 6, 2, padding=1), (4, 3, 4, 5)),
    **CONV2D,
}
GROUPED: Mapping[str, Layer] = {
    "conv1d grouped": Layer(lambda: nn.Conv1d(4, 6, 3, groups=2), (4, 9)),
    "conv2d grouped": Layer(lambda: nn.Conv2d(4, 6, 3, groups=2, stride=2), (4, 6, 7)),
    "conv2d depthwise": Layer(lambda: nn.Conv2d(4, 4, 3, groups=4), (4, 6, 7)),
    "conv3d grouped": Layer(lambda: nn.Conv3d(4, 6, 2, groups=2), (4, 3, 4, 5)),
}
# PEFT's `A` knows neither dilation nor padding mode there; the oracle is algebra.
BEYOND_PEFT: Mapping[str, Layer] = {
    "conv1d dilated": Layer(lambda: nn.Conv1d(4, 6, 3, dilation=2), (4, 9)),
    "conv2d dilated": Layer(lambda: nn.Conv2d(4, 6, 3, dilation=(1, 2), padding=2), (4, 6, 7)),
    "conv2d reflected": Layer(lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), (4, 6, 7)),
    "conv1d circular same": Layer(lambda: nn.Conv1d(4, 6, 3, padding="same", padding_mode="circular"), (4, 9)),
    "conv3d replicated": Layer(lambda: nn.Conv3d(4, 6, 2, padding=1, padding_mode="replicate"), (4, 3, 4, 5)),
    "conv2d grouped dilated": Layer(lambda: nn.Conv2d(4, 6, 3, dilation=2, groups=2), (4, 6, 7)),
}

LORA_LAYERS = {**LINEAR, **EMBEDDING, **CONV, **GROUPED}
ADALORA_LAYERS = {**LINEAR, **CONV2D}
IA3_LAYERS = {
    **LINEAR,
    **CONV2D,
    "conv3d": CONV["conv3d"],
    "conv2d grouped": GROUPED["conv2d grouped"],
    "conv2d dilated": BEYOND_PEFT["conv2d dilated"],
    "conv2d reflected": BEYOND_PEFT["conv2d reflected"],
}

LORA: Mapping[str, Any] = {"peft_type": "LORA", "r": 4, "lora_alpha": 6, "target_modules": ["layer"]}
ADALORA: Mapping[str, Any] = {
    "peft_type": "ADALORA",
    "init_r": 3,
    "target_r": 2,
    "lora_alpha": 2,
    "total_step": 10,
    "target_modules": ["layer"],
}
IA3: Mapping[str, Any] = {"peft_type": "IA3", "target_modules": ["layer"], "feedforward_modules": []}
IA3_FEEDFORWARD: Mapping[str, Any] = {**IA3, "feedforward_modules": ["layer"]}

# Every method on every layer kind that it takes.
CASES: Mapping[str, tuple[Mapping[str, Any], Layer]] = {
    **{f"lora {name}": (LORA, layer) for name, layer in LORA_LAYERS.items()},
    **{f"rslora {name}": ({**LORA, "use_rslora": True}, layer) for name, layer in LORA_LAYERS.items()},
    **{f"adalora {name}": (ADALORA, layer) for name, layer in ADALORA_LAYERS.items()},
    **{f"ia3 {name}": (IA3, layer) for name, layer in IA3_LAYERS.items()},
    **{f"ia3 feedforward {name}": (IA3_FEEDFORWARD, layer) for name, layer in IA3_LAYERS.items()},
}
