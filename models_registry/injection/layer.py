"""What happens at one target module: its own forward runs once for the whole batch, then each row gets its adapters'.

The target stays the same object and class; forward hooks act on it. It gets one child module however many adapters it
carries, whose tensors move with the model and stay out of its state dict.
"""

from collections.abc import Callable, Sequence
from typing import Any, Self, TypeAlias

import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_iter
from torch.utils.hooks import RemovableHandle
from transformers.cache_utils import Cache

from models_registry.adapters.copies import INJECTED
from models_registry.adapters.folded import Folded, LowRank
from models_registry.errors import Invalid, RowsLost
from models_registry.injection.attention import attend
from models_registry.injection.kernels import ADD_LOW_RANK, add_linear, over_features, place_tokens
from models_registry.injection.routing import Routing, Segment, routing_of, without_routing
from models_registry.injection.rows import RowsOf, put_rows, take_rows
from models_registry.records import ModuleInfo

Arguments: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]


class Adapters(nn.Module):
    """The adapters at one target: folded forms by adapter name, and the hooks that let them act.

    `model` is the `AdaptedModel` whose routings this layer follows.
    """

    def __init__(self, model: object, target: nn.Module, info: ModuleInfo) -> None:
        super().__init__()
        self.slots: dict[str, Folded] = {}
        self._additions: dict[str, LowRank] = {}
        self._model = model
        self._name = info.name
        self._spatial = len(info.kernel_size)
        self._add_low_rank = ADD_LOW_RANK.get(info.kind or "linear", add_linear)
        self._target = (target,)  # in a tuple, for torch would register the bare module as a child
        self._hooks: list[RemovableHandle] = []

    def install(self) -> None:
        """Become the target's child and hook its forward."""
        (target,) = self._target
        target.add_module(INJECTED, self)
        self._hooks.append(target.register_forward_pre_hook(self._before, with_kwargs=True))
        self._hooks.append(target.register_forward_hook(self._after, with_kwargs=True))

    def remove(self) -> None:
        """Leave the target exactly as it was found, however far `install` came."""
        (target,) = self._target
        for hook in self._hooks:
            hook.remove()
        if target._modules.get(INJECTED) is self:
            del target._modules[INJECTED]

    def put(self, name: str, folded: Folded) -> None:
        """Let the adapter act here, in the place of what it did before."""
        self.slots[name] = folded
        self._additions.pop(name, None)
        if (addition := folded.addition) is not None:
            self._additions[name] = addition

    def drop(self, name: str) -> None:
        del self.slots[name]
        self._additions.pop(name, None)

    # ---- the forward --------------------------------------------------------------------------------------------

    def _before(self, target: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments | None:
        """Scale the input rows of IA3's feed-forward layers, in a copy."""
        routing = routing_of(self._model)
        if routing is None:
            return None
        x: Tensor | None = None
        for segment in routing.segments:
            for folded, _ in self._acting(segment):
                if folded.input_scale is not None:
                    x = self._rows_of(_first(args, kwargs), routing).clone() if x is None else x
                    x[segment.rows].mul_(over_features(folded.input_scale, self._spatial))
        return None if x is None else _with_first(x, args, kwargs)

    def _after(self, target: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Any:
        """Give each segment's rows what its adapters do here."""
        routing = routing_of(self._model)
        if routing is None:
            return None
        for segment in routing.segments:
            if (added := self._lone_addition(segment)) is not None:
                # Nearly every segment at nearly every target: no step more than its two products.
                name, low, weight = added
                routing.acted.add(name)
                x = self._rows_of(_first(args, kwargs), routing)
                self._add_low_rank(out[segment.rows], x[segment.rows], low, weight, target)
            elif acting := self._acting(segment):
                routing.acted.update(name for name, _ in segment.mixture if name in self.slots)
                x = self._rows_of(_first(args, kwargs), routing)
                out = self._replace(target, segment.rows, routing.rows, acting, args, kwargs, out)
                if any(map(_changes_output, acting)):
                    y: Tensor = out if isinstance(out, Tensor) else out[0]
                    self._change(target, segment.rows, acting, x, y)
        return out

    def _replace(
        self,
        target: nn.Module,
        rows: RowsOf,
        count: int | None,
        acting: Sequence[tuple[Folded, float]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        out: Any,
    ) -> Any:
        """Where a copy answers in the target's place, or an attention module needs other weights."""
        deltas = [(folded.attention, weight) for folded, weight in acting if folded.attention is not None]
        copy = acting[0][0].copy
        if deltas and isinstance(target, nn.MultiheadAttention):
            with without_routing(self._model):
                return put_rows(out, rows, attend(target, deltas, rows, count, args, kwargs))
        if copy is not None:
            self._require_no_cache(args, kwargs)
            with without_routing(self._model):
                own_args, own_kwargs = take_rows((args, kwargs), rows, count)
                return put_rows(out, rows, copy(*own_args, **own_kwargs))
        return out

    def _require_no_cache(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A copy runs after the base's module, which has put its own keys and values there already."""
        if any(isinstance(leaf, Cache) for leaf in tree_iter((args, kwargs))):
            raise Invalid(
                f"The adapter has its own copy of {self._name!r}, which writes to a cache of keys and values that the "
                "base model uses too. Run without a cache, or save the modules inside it instead."
            )

    def _change(
        self, target: nn.Module, rows: RowsOf, acting: Sequence[tuple[Folded, float]], x: Tensor, y: Tensor
    ) -> None:
        """`y = y ∘ output_scale + output_shift + Σ weight · low_rank(x)`, and own token rows; in place.

        In half precision the sum is made in float32 and rounded once, as PEFT does with float32 adapters.
        """
        own = y[rows]
        out = own.float() if own.dtype.itemsize < 4 else own
        for folded, weight in acting:
            if folded.output_scale is not None:
                out.mul_(over_features(folded.output_scale, self._spatial))
            if folded.output_shift is not None:
                out.add_(over_features(folded.output_shift, self._spatial))
            if folded.low_rank is not None:
                x_rows = F.dropout(x[rows], folded.dropout) if folded.dropout else x[rows]
                self._add_low_rank(out, x_rows, folded.low_rank, weight, target)
            if folded.tokens is not None:
                place_tokens(out, x[rows], folded.tokens, target)
        if out is not own:
            own.copy_(out)

    def _lone_addition(self, segment: Segment) -> tuple[str, LowRank, float] | None:
        if len(segment.mixture) != 1:
            return None
        ((name, weight),) = segment.mixture
        low = self._additions.get(name)
        return None if low is None else (name, low, weight)

    def _acting(self, segment: Segment) -> list[tuple[Folded, float]]:
        """The segment's adapters that are here, with their weights."""
        return [(self.slots[name], weight) for name, weight in segment.mixture if name in self.slots]

    def _rows_of(self, x: Any, routing: Routing) -> Tensor:
        """`x`, the target's first argument: where there are rows to tell apart, a tensor of as many."""
        if routing.rows is not None and (not isinstance(x, Tensor) or x.dim() == 0 or x.shape[0] != routing.rows):
            entered = f"shape {list(x.shape)}" if isinstance(x, Tensor) else f"{type(x).__name__} first"
            raise RowsLost(
                f"The batch has {routing.rows} rows, but {self._name!r} is entered with {entered}: "
                "its rows can't be told apart there. Run one forward per adapter."
            )
        return x

    def forward(self, x: Any) -> Any:
        """The identity: an `nn.Sequential` that has become a target calls its children, this one last."""
        return x

    # ---- torch's view of the child ------------------------------------------------------------------------------

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """`model.to()` and its kin move the adapters' tensors too, though they are no parameters of the model."""
        for name, folded in tuple(self.slots.items()):
            self.put(name, folded.map(fn))
        return super()._apply(fn, recurse)

    def extra_repr(self) -> str:
        return "\n".join(f"({name}): {_describe(folded)}" for name, folded in self.slots.items())


def _changes_output(acting: tuple[Folded, float]) -> bool:
    folded, _ = acting
    parts = (folded.output_scale, folded.output_shift, folded.low_rank, folded.tokens)
    return any(part is not None for part in parts)


def _first(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return args[0] if args else next(iter(kwargs.values()), None)


def _with_first(x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    if args:
        return (x, *args[1:]), kwargs
    return args, {**kwargs, next(iter(kwargs)): x}


def _describe(folded: Folded) -> str:
    """The parts that are there, by the names that PEFT gives their tensors."""
    low, attention = folded.low_rank, folded.attention
    parts = {
        "lora_A": low and list(low.down.shape),
        "lora_B": low and list(low.up.shape),
        "scaling": low and round(low.scaling, 6),
        "in_proj": attention and f"rank {len(attention.in_proj.down)}",
        "out_proj": attention and f"rank {len(attention.out_proj.down)}",
        "input scale": None if folded.input_scale is None else list(folded.input_scale.shape),
        "output scale": None if folded.output_scale is None else list(folded.output_scale.shape),
        "output shift": None if folded.output_shift is None else list(folded.output_shift.shape),
        "tokens": folded.tokens and len(folded.tokens.indices),
        "copy": folded.copy and type(folded.copy).__name__,
    }
    return ", ".join(f"{name}={value}" for name, value in parts.items() if value is not None)
