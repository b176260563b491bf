"""What each position of a slot may look at, in the form that a model's attention takes."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from transformers import PreTrainedModel

FULL, SLIDING = "full_attention", "sliding_attention"
ATTENTIONS: Final = frozenset({"sdpa", "eager"})


@dataclass(frozen=True, slots=True)
class Masks:
    """As `transformers.masking_utils.create_masks_for_generate` gives them to a model: one mask, or one for each of
    `layer_types` where its config has these. `window` positions are seen where layers slide."""

    layer_types: Collection[str] | None
    window: int | None
    additive: torch.dtype | None

    @classmethod
    def of_model(cls, model: PreTrainedModel) -> "Masks | None":
        """None where layers look at something else."""
        config: Any = model.config.get_text_config()
        attention = config._attn_implementation
        layer_types = getattr(config, "layer_types", None)
        known = layer_types is None or set(layer_types) <= {FULL, SLIDING}
        if attention not in ATTENTIONS or not known or getattr(config, "attention_chunk_size", None) is not None:
            return None
        return cls(
            None if layer_types is None else frozenset(layer_types),
            getattr(config, "sliding_window", None),
            model.dtype if attention == "eager" else None,
        )

    def of(self, queries: Tensor, view: int) -> Any:
        """For `queries`, positions [rows, tokens], that look at the first `view` positions of their slots: masks
        [rows, 1, tokens, view]."""
        keys = torch.arange(view, device=queries.device)
        causal = keys <= queries[:, None, :, None]
        sliding = causal if self.window is None else causal & (keys > queries[:, None, :, None] - self.window)
        if self.layer_types is None:
            return self._formed(sliding)
        return {kind: self._formed(sliding if kind == SLIDING else causal) for kind in self.layer_types}

    def _formed(self, mask: Tensor) -> Tensor:
        if self.additive is None:
            return mask
        hidden = torch.finfo(self.additive).min
        return torch.zeros(mask.shape, dtype=self.additive, device=mask.device).masked_fill_(~mask, hidden)
