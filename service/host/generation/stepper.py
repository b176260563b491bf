"""Runs a causal language model on slots: parts of prompts, or the next token of every text.

The model's own code and attention stay as they are; positions and masks are given to it. Knows no adapters.
"""

import inspect
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from service.host.generation.chunk_ends import ChunkEnds
from service.host.generation.decode_step import Step
from service.host.generation.masks import Masks
from service.host.generation.schedule import rows_for, tokens_for
from service.host.generation.slots import KeyValueSlots
from service.host.generation.step_attention import OwnAttention, SlabAttention, StepAttention

CACHE_NAMES: Final = ("cache", "past_key_values")
PLAIN_LAYERS: Final = (DynamicLayer, DynamicSlidingWindowLayer)


class Stepper:
    """Forwards of `model`, whose keys and values are in `slots`. Use it under `torch.inference_mode`."""

    def __init__(self, model: PreTrainedModel, masks: Masks, cache_name: str) -> None:
        config: Any = model.config.get_text_config()
        self.slots: Final = KeyValueSlots(config.num_hidden_layers)
        self._model = model
        self._masks = masks
        self.attentions: Final[Sequence[StepAttention]] = _attentions_of(model, masks)
        """Of steps, the fastest first. Which are right for the model shows in a forward; the last is."""
        self.attention = self.attentions[0]
        self._ends = ChunkEnds(model.get_output_embeddings())
        self._more: dict[str, Any] = {cache_name: self.slots, "use_cache": True, "return_dict": True}

    def prefill(self, slots: Sequence[int], chunks: Sequence[Sequence[int]], start: int) -> Tensor:
        """Compute the ids of `chunks` at the positions of `slots` from `start`; before them all must be computed.
        Returns the logits [chunks, vocabulary] behind the last of each.

        All are filled up to one length. What fills them lies behind a chunk, where nothing looks before it is computed
        again, and has the last position's embedding, for a model may have no further one."""
        length = tokens_for(max(map(len, chunks)))
        ends = torch.tensor([len(chunk) - 1 for chunk in chunks])
        ids = torch.tensor([[*chunk, *[0] * (length - len(chunk))] for chunk in chunks])
        positions = start + torch.arange(length).minimum(ends[:, None])
        self.slots.read_at(slots, start, start + length)
        device = self._model.device
        positions = positions.to(device)
        with self._ends.only(ends.to(device)):
            return self._ends.of(self._forward(ids, positions, self._masks.of(positions, start + length)))

    def decode(self, ids: Sequence[int], positions: Sequence[int]) -> Tensor:
        """Compute one token of each of the first slots, at its own position. Returns logits [rows, vocabulary]. Rows
        are filled up."""
        rows = rows_for(len(ids))
        step = Step(self.slots, positions, rows, self._model.device)
        filled = torch.tensor([*ids, *[0] * (rows - len(ids))])[:, None]
        with self.attention.active(self.slots, step) as masks:
            return self._forward(filled, step.positions[:, None], masks)[: len(ids), -1]

    def _forward(self, ids: Tensor, positions: Tensor, masks: Any) -> Tensor:
        ids = ids.to(self._model.device)
        outputs: Any = self._model(input_ids=ids, position_ids=positions, attention_mask=masks, **self._more)
        logits: Tensor = outputs.logits
        return logits.float()


def stepper_for(model: PreTrainedModel) -> Stepper | None:
    """None where the model keeps more than keys and values of its tokens, or takes no mask of what it may attend to.

    What it does with slots shows only in a forward.
    """
    names = inspect.signature(model.forward).parameters
    masks = Masks.of_model(model)
    cache_name = next((name for name in CACHE_NAMES if name in names), None)
    if masks is None or cache_name is None or "position_ids" not in names or model.config.is_encoder_decoder:
        return None
    if not hasattr(model.config.get_text_config(), "num_hidden_layers") or not _is_plain(model):
        return None
    return Stepper(model, masks, cache_name)


def _attentions_of(model: PreTrainedModel, masks: Masks) -> Sequence[StepAttention]:
    config: Any = model.config.get_text_config()
    own = OwnAttention(masks)
    return (SlabAttention(model, masks), own) if config._attn_implementation == "sdpa" else (own,)


def _is_plain(model: PreTrainedModel) -> bool:
    layers: list[object] = list(DynamicCache(config=model.config.get_text_config()).layers)
    return not model._is_stateful and all(type(layer) in PLAIN_LAYERS for layer in layers)  # pyright: ignore[reportPrivateUsage] - transformers has no other name for it
