"""How a step's tokens look at their texts, whose rooms are as long as they are.

`SlabAttention` looks at each slab by itself: a short text takes no more time beside a long one, and nothing is copied.
While a step runs, it stands in the place of the attention that the model's config names. `OwnAttention` is for models
that attend in a way of their own: their keys and values are copied together for them.
"""

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, Final, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import PreTrainedModel
from transformers.modeling_utils import AttentionInterface

from service.host.generation.decode_step import Step
from service.host.generation.masks import Masks
from service.host.generation.slots import KeyValueSlots, Pair, SlotLayer

NAME: Final = "slabs"
QUERIES: Final = 4
"""Of each head, a multiple of so many are computed: threads then have scratch memory of the same alignment, which the
last bits follow."""


class NotAttended(RuntimeError):
    """A layer of the model looked at its keys and values in another way."""


class StepAttention(Protocol):
    def active(self, slots: KeyValueSlots, step: Step) -> AbstractContextManager[Any]:
        """Forwards inside the `with` are of the `step`. Gives the masks that the model takes."""
        ...


class OwnAttention:
    """The model's."""

    def __init__(self, masks: Masks) -> None:
        self._masks = masks

    @contextmanager
    def active(self, slots: KeyValueSlots, step: Step) -> Generator[Any]:
        view = max(part.slab.room for part in step.parts)
        slots.forward = _Gathered(step, view)
        yield self._masks.of(step.positions[:, None], view)


class SlabAttention:
    """Of a model whose attention is torch's own, as its config names it."""

    def __init__(self, model: PreTrainedModel, masks: Masks) -> None:
        AttentionInterface.register(NAME, attend)
        self._config: Any = model.config.get_text_config()
        self._masks = masks
        self._kinds: Sequence[str | None] = getattr(self._config, "layer_types", None) or ()

    @contextmanager
    def active(self, slots: KeyValueSlots, step: Step) -> Generator[Any]:
        """Raises `NotAttended` at the end of a forward that attended otherwise."""
        looks = _Looks(step, self._masks, self._kinds)
        own, slots.forward = self._config._attn_implementation, looks
        self._config._attn_implementation = NAME
        token = _looks.set(looks)
        try:
            yield self._masks.of(step.positions[:, None], 1)  # the model makes none of its own then
        finally:
            _looks.reset(token)
            self._config._attn_implementation = own
        looks.require_all()


class _Gathered:
    def __init__(self, step: Step, view: int) -> None:
        self._step = step
        self._view = view

    def write(self, layer: SlotLayer, keys: Tensor, values: Tensor) -> Pair:
        self._step.put(layer, keys, values)
        return self._copied(layer, 0, keys), self._copied(layer, 1, values)

    def _copied(self, layer: SlotLayer, at: int, new: Tensor) -> Tensor:
        """[rows, heads, view, width]"""
        copies = new.new_zeros(new.shape[0], new.shape[1], self._view, new.shape[3])
        start = 0
        for part in self._step.parts:
            rows = self._step.rows[start : start + len(part.positions)][part.written]
            copies[rows, :, : part.slab.room] = layer.kept_in(part.slab)[at][part.written]
            start += len(part.positions)
        return copies


class _Looks:
    """A step's tokens look at their texts, layer by layer."""

    def __init__(self, step: Step, masks: Masks, kinds: Sequence[str | None]) -> None:
        self._step = step
        self._kinds = kinds
        self._masks = [masks.of(part.positions[:, None], part.slab.room) for part in step.parts]
        self._additive: dict[tuple[str | None, torch.dtype], list[Tensor]] = {}
        self._layer: SlotLayer | None = None
        self._keys: Tensor | None = None

    def write(self, layer: SlotLayer, keys: Tensor, values: Tensor) -> Pair:
        self.require_all()
        self._step.put(layer, keys, values)
        self._layer, self._keys = layer, keys
        return keys, values

    def require_all(self) -> None:
        if self._layer is not None:
            raise NotAttended(f"Layer {self._layer.index} attends in a way of its own.")

    def at(self, keys: Tensor, query: Tensor, scaling: float | None) -> Tensor:
        """Of `query` [rows, heads, 1, width], what the texts give [rows, heads, 1, width of values]. `keys` are those
        that were written last."""
        layer = self._layer
        if layer is None or keys is not self._keys:
            raise NotAttended("A layer attends to something else than its own keys and values.")
        self._layer, self._keys = None, None
        rows, heads, _, width = query.shape
        shared = heads // keys.shape[1]  # query heads that look at the same keys are queries of one head
        own = query.view(rows, -1, shared, width).index_select(0, self._step.rows)
        own = pad(own, (0, 0, 0, -shared % QUERIES))
        found: list[Tensor] = []
        start = 0
        for part, mask in zip(self._step.parts, self._masks_for(layer, query.dtype), strict=True):
            count = len(part.positions)
            kept_keys, kept_values = layer.kept_in(part.slab)
            looked = scaled_dot_product_attention(
                own[start : start + count], kept_keys[:count], kept_values[:count], attn_mask=mask, scale=scaling
            )
            found.append(looked)
            start += count
        out = torch.cat(found).index_select(0, self._step.places)[:, :, :shared]
        return out.reshape(rows, heads, 1, -1)

    def _masks_for(self, layer: SlotLayer, dtype: torch.dtype) -> list[Tensor]:
        kind = self._kinds[layer.index] if self._kinds else None
        if (kind, dtype) not in self._additive:
            masks = [mask if kind is None else mask[kind] for mask in self._masks]
            hidden = [torch.zeros(mask.shape, dtype=dtype, device=mask.device) for mask in masks]
            self._additive[kind, dtype] = [
                zeros.masked_fill_(~mask, -torch.inf) for zeros, mask in zip(hidden, masks, strict=True)
            ]
        return self._additive[kind, dtype]


_looks: ContextVar[_Looks] = ContextVar("looks")


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """As `transformers` calls it. Returns [rows, 1, heads, width]."""
    if any(others.get(name) is not None for name in ("softcap", "position_bias")):
        raise NotAttended("A layer attends in a way of its own.")
    return _looks.get().at(key, query, scaling).transpose(1, 2).contiguous(), None
