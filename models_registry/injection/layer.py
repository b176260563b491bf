"""What happens at one target module: its own forward runs once for the whole batch, then each row gets its adapters'.

The target stays the same object and class; forward hooks act on it. It gets one child module however many adapters it
carries, whose tensors move with the model and stay out of its state dict.
"""

from collections.abc import Callable, Iterator
from types import EllipsisType
from typing import Any, Self, TypeAlias

import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from models_registry.adapters.method import Folded
from models_registry.errors import Invalid
from models_registry.injection.kernels import ADD_LOW_RANK, over_features
from models_registry.injection.routing import Routing, routing_of
from models_registry.records import ModuleInfo

CHILD = "adapters"

Arguments: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]


class Adapters(nn.Module):
    """The adapters at one target: folded forms by adapter name, and the hooks that let them act.

    `model` is the `AdaptedModel` whose routings this layer follows. `info.kind` is never None.
    """

    def __init__(self, model: object, target: nn.Module, info: ModuleInfo) -> None:
        super().__init__()
        assert info.kind is not None
        self.slots: dict[str, Folded] = {}
        self._model = model
        self._name = info.name
        self._spatial = len(info.kernel_size)
        self._add_low_rank = ADD_LOW_RANK[info.kind]
        self._target = (target,)  # in a tuple, for torch would register the bare module as a child
        self._hooks: tuple[RemovableHandle, ...] = ()

    def install(self) -> None:
        """Become the target's child and hook its forward."""
        (target,) = self._target
        target.add_module(CHILD, self)
        self._hooks = (
            target.register_forward_pre_hook(self._before, with_kwargs=True),
            target.register_forward_hook(self._after, with_kwargs=True),
        )

    def remove(self) -> None:
        """Leave the target exactly as it was found."""
        (target,) = self._target
        for hook in self._hooks:
            hook.remove()
        del target._modules[CHILD]

    # ---- the forward --------------------------------------------------------------------------------------------

    def _before(self, target: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments | None:
        """Scale the input rows of IA3's feed-forward layers, in a copy."""
        routing = routing_of(self._model)
        if routing is None:
            return None
        scales = [
            (rows, folded.input_scale) for rows, folded, _ in self._acting(routing) if folded.input_scale is not None
        ]
        if not scales:
            return None
        x = self._checked(_first(args, kwargs), routing).clone()
        for rows, scale in scales:
            x[rows] *= over_features(scale, self._spatial)
        return _with_first(x, args, kwargs)

    def _after(self, target: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> Tensor | None:
        """Scale the output rows, then add the low-rank part: `base(x) ∘ output_scale + weight · low_rank(x)`."""
        routing = routing_of(self._model)
        if routing is None:
            return None
        x: Tensor = _first(args, kwargs)
        for rows, folded, weight in self._acting(routing):
            self._checked(x, routing)
            if folded.output_scale is not None:
                out[rows] *= over_features(folded.output_scale, self._spatial)
            if folded.low_rank is not None:
                x_rows = F.dropout(x[rows], folded.dropout) if folded.dropout else x[rows]
                self._add_low_rank(out[rows], x_rows, folded.low_rank, weight, target)
        return out

    def _acting(self, routing: Routing) -> Iterator[tuple[slice | EllipsisType, Folded, float]]:
        """What acts here: the rows, the adapter's folded form, its weight."""
        for segment in routing.segments:
            for name, weight in segment.mixture:
                if (folded := self.slots.get(name)) is not None:
                    yield segment.rows, folded, weight

    def _checked(self, x: Tensor, routing: Routing) -> Tensor:
        if routing.rows is not None and (x.dim() == 0 or x.shape[0] != routing.rows):
            raise Invalid(
                f"The batch has {routing.rows} rows, but {self._name!r} is entered with shape {list(x.shape)}: "
                "its rows can't be told apart there. Run one forward per adapter."
            )
        return x

    # ---- torch's view of the child ------------------------------------------------------------------------------

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """`model.to()` and its kin move the adapters' tensors too, though they are no parameters of the model."""
        self.slots = {name: folded.map(fn) for name, folded in self.slots.items()}
        return super()._apply(fn, recurse)

    def extra_repr(self) -> str:
        return "\n".join(f"({name}): {_describe(folded)}" for name, folded in self.slots.items())


def _first(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return args[0] if args else next(iter(kwargs.values()))


def _with_first(x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    if args:
        return (x, *args[1:]), kwargs
    return args, {**kwargs, next(iter(kwargs)): x}


def _describe(folded: Folded) -> str:
    parts: list[str] = []
    if folded.low_rank is not None:
        down, up, scaling = folded.low_rank.down, folded.low_rank.up, folded.low_rank.scaling
        parts.append(f"lora_A={list(down.shape)}, lora_B={list(up.shape)}, scaling={scaling:g}")
    if folded.input_scale is not None:
        parts.append(f"ia3_l={list(folded.input_scale.shape)} on the input")
    if folded.output_scale is not None:
        parts.append(f"ia3_l={list(folded.output_scale.shape)} on the output")
    return ", ".join(parts)
