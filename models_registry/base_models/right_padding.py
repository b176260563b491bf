"""Whether a transformers model's token rows may be padded on the right, and with what."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self, cast

from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from models_registry.base_models.model_config import pad_token_of, text_config_of
from models_registry.base_models.named_tensors import signature_of
from models_registry.base_models.spec import Padding
from models_registry.base_models.text import Text
from models_registry.base_models.token_ids import LIKE_TOKENS, Tables

IDS, MASK = "input_ids", "attention_mask"
# Rotary embeddings that turn differently for all tokens once the longest row of a batch is long.
STRETCHING_ROPES = frozenset({"dynamic", "longrope"})


@dataclass(frozen=True, slots=True)
class RightPadding:
    """What one model's rows are padded with. `fill` is empty where they can't be."""

    fill: Mapping[str, int]

    @classmethod
    def of_model(cls, model: PreTrainedModel, tables: Tables, text: Text | None) -> Self:
        """Where the model has no mask to hide what is added, nothing can be."""
        names = signature_of(model).names
        if not {IDS, MASK} <= set(names) or not STRETCHING_ROPES.isdisjoint(_rope_types(model.config)):
            return cls({})
        # Any token will do where none is meant for it, for the mask hides it.
        token = pad_token_of(model) if text is None else text.pad_token_id
        fill = {
            IDS: token if token is not None and 0 <= token < (tables.inputs.tokens or 1) else 0,
            "token_type_ids": 0 if text is None else text.pad_segment,
        }
        return cls({name: fill.get(name, 0) for name in (IDS, *LIKE_TOKENS) if name in names})

    def of_rows(self, tensors: Mapping[str, Tensor]) -> Padding | None:
        """None unless each row begins with a token of its own: what a model gives where everything is masked depends
        on how long the row is."""
        ids, mask = tensors.get(IDS), tensors.get(MASK)
        if not self.fill or ids is None or ids.ndim != 2:
            return None
        if mask is not None and (mask.shape != ids.shape or not bool(mask[:, 0].all())):
            return None
        like = {name for name, tensor in tensors.items() if tensor.shape == ids.shape}
        return Padding({name: value for name, value in self.fill.items() if name in like or name == MASK}, MASK)


def _rope_types(config: PreTrainedConfig) -> Iterator[str]:
    """One for all layers, or one for each kind of layer; none without rotary embeddings."""
    rope: Any = getattr(text_config_of(config), "rope_parameters", None)  # only models with rotary embeddings have it
    if isinstance(rope, Mapping):
        by_name = cast(Mapping[str, Any], rope)
        for one in (by_name, *by_name.values()):
            if isinstance(one, Mapping) and "rope_type" in one:
                yield str(one["rope_type"])
