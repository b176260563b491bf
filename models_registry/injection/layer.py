"""What happens at one target module: its own forward runs once for the whole batch, then each row gets its adapters'.

The target stays the same object and class; forward hooks act on it. It gets one child module however many adapters it
carries, whose tensors move with the model and stay out of its state dict.
"""

import operator
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, Final, Self, TypeAlias

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from models_registry.adapters.copies import INJECTED, InjectedForward
from models_registry.adapters.folded import Folded
from models_registry.errors import RowsLost
from models_registry.injection.kernels.scales import WORTH_GATHERING, gather_vectors, over_rows
from models_registry.injection.kernels.segmented import ADD_LOW_RANK, add_linear, over_features
from models_registry.injection.kernels.stacked_lora import LowRankDelta
from models_registry.injection.layer_delta import LayerAdapters, LayerDelta, LinearDelta
from models_registry.injection.merged.merged_layer import can_merge, merge
from models_registry.injection.merged.merged_weights_cache import CompositionKey, MergedLayer
from models_registry.injection.routing.plan import Additions, LowRankDeltas, Plan
from models_registry.injection.routing.routing import Routing, routing_of, without_routing
from models_registry.injection.routing.segment import EVERY_ROW
from models_registry.records import LayerKind, ModuleInfo

Arguments: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]

LINEAR: Final[Collection[LayerKind | None]] = ("linear", "hf_conv1d")
MOST_KEPT: Final = 1024
"""So many compositions are kept of a layer: there is no end of weights."""


class Adapters(nn.Module):
    """The adapters at one target: folded forms by adapter name, and the hooks that let them act.

    `model` is the `AdaptedModel` whose routings this layer follows.
    """

    def __init__(self, model: object, target: nn.Module, info: ModuleInfo) -> None:
        super().__init__()
        self.folded: dict[str, Folded] = {}
        self._scaling_inputs: set[str] = set()
        self._edition = 0
        self._kept: dict[CompositionKey, LayerAdapters] = {}
        self._model = model
        self._name = info.name
        self._kind: LayerKind | None = info.kind
        self._spatial = len(info.kernel_size)
        self._add_low_rank = ADD_LOW_RANK.get(info.kind or "linear", add_linear)
        self._target = (target,)  # in a tuple, for torch would register the bare module as a child
        self._answers = False
        self._hook: RemovableHandle | None = None
        self._hook_before: RemovableHandle | None = None

    def install(self) -> None:
        """Become the target's child and hook its forward."""
        (target,) = self._target
        target.add_module(INJECTED, self)
        self._hook = target.register_forward_hook(self._after, with_kwargs=True)

    def remove(self) -> None:
        """Restore the target exactly as it was, however far `install` got."""
        (target,) = self._target
        for hook in (self._hook, self._hook_before):
            if hook is not None:
                hook.remove()
        if self._answers:
            del target.forward
        if target._modules.get(INJECTED) is self:
            del target._modules[INJECTED]

    def make_ready(self, folded: Folded) -> None:
        """Hook what it will need: all that can fail of `put`. A hook that isn't needed after all is removed by the next
        `drop_idle_hook`."""
        (target,) = self._target
        if folded.input_scale is not None and self._hook_before is None:
            self._hook_before = target.register_forward_pre_hook(self._before, with_kwargs=True)

    def put(self, name: str, folded: Folded) -> None:
        """Let the adapter act here, which it was made ready for, in the place of what it did before."""
        self._forget(name)
        self.folded[name] = folded
        if folded.input_scale is not None:
            self._scaling_inputs.add(name)
        self.drop_idle_hook()

    def drop(self, name: str) -> None:
        del self.folded[name]
        self._forget(name)
        self.drop_idle_hook()

    def drop_idle_hook(self) -> None:
        """Remove the hook before the forward while no adapter needs it, because each forward pays for it, the base's
        own too."""
        if not self._scaling_inputs and self._hook_before is not None:
            self._hook_before.remove()
            self._hook_before = None

    def _forget(self, name: str) -> None:
        self._scaling_inputs.discard(name)
        self._edition += 1
        self._kept = {
            composition: acting
            for composition, acting in self._kept.items()
            if all(name != other for other, _ in composition)
        }

    # ---- the forward --------------------------------------------------------------------------------------------

    def _before(self, target: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments | None:
        """Scale the input rows of IA3's feed-forward layers, in a copy."""
        routing = routing_of(self._model)
        if routing is None or not (scales := self._plan(routing).input_scales):
            return None
        x = self._rows_of(_first(args, kwargs), routing).clone()
        for rows, scale in scales:
            x[rows].mul_(over_features(scale, self._spatial))
        return _with_first(x, args, kwargs)

    def _after(self, target: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Any:
        """Give each segment's rows what its adapters do here."""
        routing = routing_of(self._model)
        if routing is None or not (plan := self._plan(routing)).names or plan.merged is not None:
            return None
        x = self._rows_of(_first(args, kwargs), routing)
        for change in plan.changes:
            if change.replaces:
                with without_routing(self._model):
                    out = change.replace(target, self._name, routing.rows, args, kwargs, out)
            if change.changes_output:
                y: Tensor = out if isinstance(out, Tensor) else out[0]
                change.apply(y, x, target, self._add_low_rank, self._spatial)
        if plan.gathered_output is not None:
            out.mul_(over_rows(plan.gathered_output, out.dim(), self._spatial))
        for additions in plan.additions:
            # Nearly every row at nearly every target: no step more than the products.
            additions.add(out, x, target)
        return out

    def _plan(self, routing: Routing) -> Plan:
        plan = routing.plans.get(self)
        if plan is None or plan.edition != self._edition:
            acting = tuple(self._acting(segment.composition) for segment in routing.segments)
            # Adapters that this routing doesn't name are attached and ejected all the time.
            if plan is not None and all(map(operator.is_, acting, plan.made_of)):
                plan = replace(plan, edition=self._edition)
            else:
                plan = self._make_plan(routing, acting)
            routing.plans[self] = plan
        return plan

    def _make_plan(self, routing: Routing, acting: tuple[LayerAdapters, ...]) -> Plan:
        names = frozenset[str]().union(*(own.names for own in acting))
        routing.acted.update(names)
        merged = routing.merged.get(self._name)
        if merged is not None and self._answers and merged.is_of([folded for own in acting for folded, _ in own.parts]):
            return Plan(self._edition, acting, names, merged=merged.copy)
        paged = None if routing.paging is None else routing.paging.page(self, routing.segments, acting)
        changes: list[LayerDelta] = []
        lows: list[LowRankDelta] = []
        for segment, own in zip(routing.segments, acting, strict=True):
            if not own.parts or (paged is not None and segment.composition in paged.compositions):
                continue
            rows = EVERY_ROW if segment.rows == slice(0, routing.rows) else segment.rows
            if own.low_ranks:
                lows.append(LowRankDelta(rows, own.low_ranks))
            else:
                changes.append(LayerDelta(rows, own.parts))
        rescaled = [(change.rows, scale) for change in changes if (scale := change.rescaling) is not None]
        gathered = None
        if routing.rows is not None and len(rescaled) >= WORTH_GATHERING:
            gathered = gather_vectors(rescaled, routing.rows, 1.0)
            changes = [change for change in changes if change.rescaling is None]
        scales = tuple((change.rows, scale) for change in changes for scale in change.input_scales)
        additions: list[Additions] = [] if paged is None else [paged]
        if lows:
            additions.append(LowRankDeltas(lows, routing.rows, self._add_low_rank, routing.stacking))
        return Plan(self._edition, acting, names, tuple(changes), scales, gathered, tuple(additions))

    def _acting(self, composition: CompositionKey) -> LayerAdapters:
        """What the composition does here, from what was kept if there is something: batches ask for the same ones."""
        acting = self._kept.get(composition)
        if acting is None:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            acting = self._kept[composition] = self._look_up(composition)
        return acting

    def _look_up(self, composition: CompositionKey) -> LayerAdapters:
        parts = tuple((self.folded[name], weight) for name, weight in composition if name in self.folded)
        low_ranks = tuple((low, weight) for folded, weight in parts if (low := folded.addition) is not None)
        names = frozenset(name for name, _ in composition if name in self.folded)
        linear = LinearDelta.of(parts) if parts and self._kind in LINEAR else None
        return LayerAdapters(names, parts, low_ranks if len(low_ranks) == len(parts) else (), linear)

    # ---- merged copies ------------------------------------------------------------------------------------------

    def merge_bytes(self, composition: CompositionKey) -> int:
        """What `merge` would take; 0: the composition can't be merged here."""
        (target,) = self._target
        # What a stranger's hook makes of the output, an adapter adds to; in the weight, it would be made of the sum.
        is_first = self._hook is not None and next(iter(target._forward_hooks)) == self._hook.id
        if not is_first or ("forward" in vars(target)) is not self._answers:
            return 0
        if not can_merge(target, self._kind, self._acting(composition).parts):
            return 0
        return target.get_parameter("weight").nbytes

    def merge(self, composition: CompositionKey) -> MergedLayer:
        """Make a copy of the target with the composition in it. From now on the target asks each routing for one."""
        (target,) = self._target
        acting = self._acting(composition).parts
        made_of = tuple(folded for folded, _ in acting)
        copy = merge(target, self._kind, acting) if self.merge_bytes(composition) else None
        if copy is None:
            return MergedLayer(made_of, None, 0)
        if not self._answers:
            target.forward = InjectedForward(self._answer, target.forward)
            self._answers = True
        return MergedLayer(made_of, copy, copy.get_parameter("weight").nbytes)

    def _answer(self, own_forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """In the place of the target's forward: a merged copy's, where this routing has one."""
        routing = routing_of(self._model)
        merged = None if routing is None else self._plan(routing).merged
        return own_forward(*args, **kwargs) if merged is None else type(merged).forward(merged, *args, **kwargs)

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
        for name, folded in tuple(self.folded.items()):
            self.put(name, folded.map(fn))
        return super()._apply(fn, recurse)

    def extra_repr(self) -> str:
        return "\n".join(f"({name}): {_describe(folded)}" for name, folded in self.folded.items())


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
