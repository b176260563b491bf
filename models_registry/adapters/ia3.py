"""(IA)³ (Liu et al. 2022): a learnt vector rescales a layer's output, or its input where it is a feed-forward layer."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from models_registry.adapters.folded import Folded
from models_registry.adapters.method import BaseWeights, MethodConfig, Names
from models_registry.adapters.patterns import matches
from models_registry.records import LayerKind, ModuleInfo


class IA3Config(MethodConfig):
    kinds: ClassVar[frozenset[LayerKind]] = frozenset({"linear", "hf_conv1d", "conv2d", "conv3d"})
    refused: ClassVar[Mapping[str, str]] = {}

    peft_type: Literal["IA3"] = "IA3"
    feedforward_modules: Names | str | None = None
    init_ia3_weights: bool = True

    def is_feedforward(self, target: ModuleInfo) -> bool:
        return self.feedforward_modules is not None and matches(self.feedforward_modules, target.name, self.expressions)

    @property
    def addition_refusal(self) -> str | None:
        return "IA3 rescales instead of adding"

    def refusal(self, target: ModuleInfo) -> str | None:
        return None

    def shapes(self, target: ModuleInfo) -> dict[str, tuple[int, ...]]:
        feedforward = self.is_feedforward(target)
        features = target.in_features if feedforward else target.out_features
        if target.kernel_size:
            return {"ia3_l": (1, features, *(1 for _ in target.kernel_size))}
        return {"ia3_l": (1, features) if feedforward else (features, 1)}

    def initial_weights(self, target: ModuleInfo, generator: torch.Generator, base: BaseWeights) -> dict[str, Tensor]:
        (shape,) = self.shapes(target).values()
        return {"ia3_l": torch.ones(shape) if self.init_ia3_weights else torch.randn(shape, generator=generator)}

    def fold(self, target: ModuleInfo, tensors: Mapping[str, Tensor], layer: nn.Module) -> Folded:
        vector = tensors["ia3_l"].flatten()
        return Folded(input_scale=vector) if self.is_feedforward(target) else Folded(output_scale=vector)
