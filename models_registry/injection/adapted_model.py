"""The public face of injection: named adapters in any torch module, chosen per forward, the base left intact.

    adapted = AdaptedModel(model)
    adapted.inject_adapter("tone", LoraConfig(target_modules=("linear",)))
    with adapted.routed([{"tone": 1.0}, {}]):       # the first row with the adapter, the second is the base's
        model(rows)
    model(rows)                                     # no routing: the base

The module stays what it was: same objects and classes, same attributes, same state dict.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Final
from weakref import WeakSet

from torch import Tensor, nn

from models_registry.adapters.catalog import AdapterConfig
from models_registry.adapters.checkpoint import Checkpoint, fresh_checkpoint, match_checkpoint
from models_registry.adapters.copies import INJECTED
from models_registry.adapters.folded import Folded, serving_dtype
from models_registry.architecture import describe
from models_registry.errors import Conflict, Invalid, NotFound
from models_registry.injection.arithmetic.weight_forms import as_recorded
from models_registry.injection.kernels.calibration import calibrate
from models_registry.injection.kernels.kernel_table import KernelTable
from models_registry.injection.layer import Adapters
from models_registry.injection.merged.merged_weights_cache import Merged, MergedWeightsCache
from models_registry.injection.probing.coverage import UNKNOWN
from models_registry.injection.probing.model_profile import UNPROBED, ModelProfile, probe_model
from models_registry.injection.probing.observation import Batch, Forward
from models_registry.injection.probing.row_independence import PaddedRows
from models_registry.injection.routing.routing import (
    Composition,
    Routing,
    route_rows,
    route_whole,
    routing,
    without_routing,
)
from models_registry.injection.routing.sequence_routing import ONE_BY_ONE, SequenceRouting
from models_registry.records import Architecture, Fault

log = logging.getLogger(__name__)

FREE: Final = object()


@dataclass(frozen=True, slots=True)
class PreparedAdapter:
    """An adapter folded for serving, by target name, on the model's device."""

    layers: Mapping[str, Folded]
    addition_refusal: str | None

    @property
    def bytes(self) -> int:
        return sum(tensor.nbytes for folded in self.layers.values() for tensor in folded.tensors)


class AdaptedModel:
    """A torch module with named adapters. `architecture` describes it untouched; None: it is untouched now. `kernels`
    says how adapters are computed, and which copies of them and of the module's layers may be kept in memory.

    Forwards may run on several threads at once. `attach_adapter` and `eject_adapter` must not run beside a forward.
    """

    def __init__(
        self, module: nn.Module, architecture: Architecture | None = None, kernels: KernelTable | None = None
    ) -> None:
        self.module = module
        self.kernels = KernelTable() if kernels is None else kernels
        self.architecture = describe(module) if architecture is None else architecture
        self._modules = dict(module.named_modules())
        self._infos = {info.name: info for info in self.architecture.modules}
        self._layers: dict[str, Adapters] = {}
        self.merged_weights = MergedWeightsCache()
        self._sequences = WeakSet[SequenceRouting]()
        self._attached: dict[str, PreparedAdapter] = {}
        self._checkpoints: dict[str, Checkpoint] = {}
        self.profile: ModelProfile = UNPROBED
        self.inactive: set[str] = set()
        """Adapters that the last forward which was to follow them never reached; `note_effect` keeps it."""

    @property
    def adapters(self) -> tuple[str, ...]:
        return tuple(self._attached)

    # ---- injecting ----------------------------------------------------------------------------------------------

    def inject_adapter(
        self,
        name: str,
        config: AdapterConfig,
        tensors: Mapping[str, Tensor] | None = None,
        *,
        seed: int | None = None,
        accept_unmatched: bool = False,
    ) -> Checkpoint:
        """Inject an adapter with the method's initial weights (`seed` makes them reproducible) or with `tensors`.

        All or nothing: a failure leaves the model unchanged. With `accept_unmatched`, what the config names and
        the model lacks is a warning.

        Raises:
            Conflict: the name is taken.
            Invalid: the config or the tensors don't fit the model; lists everything at once.
        """
        if name in self._attached:
            raise Conflict(f"An adapter named {name!r} is already injected; eject it first.")
        checkpoint = (
            fresh_checkpoint(config, self.architecture, seed, self.base_weight, accept_unmatched=accept_unmatched)
            if tensors is None
            else match_checkpoint(config, _own(tensors), self.architecture, accept_unmatched)
        )
        self.attach_adapter(name, self.prepare_adapter(checkpoint))
        self._checkpoints[name] = checkpoint
        return checkpoint

    def prepare_adapter(self, checkpoint: Checkpoint) -> PreparedAdapter:
        """Fold for serving: cast to each target's dtype and move to its device. Touches nothing; any thread may."""
        layers: dict[str, Folded] = {}
        for place in checkpoint.places:
            name = place.module.name
            folded = place.fold(checkpoint.tensors, self._modules[name])
            layers[name] = layers[name].joined(folded) if name in layers else folded
        placed = {name: self._placed(folded, name) for name, folded in layers.items()}
        return PreparedAdapter(placed, checkpoint.config.addition_refusal)

    def attach_adapter(self, name: str, prepared: PreparedAdapter) -> None:
        """Swap a prepared adapter in, under `name`, replacing one of that name. Costs the same however many there are.

        What is attached so, without `inject_adapter`, is for serving alone and has no state dict here.
        """
        self.merged_weights.forget(name)
        missing = [target for target in prepared.layers if target not in self._layers]
        for target in missing:
            if getattr(self._modules[target], INJECTED, FREE) is not FREE:
                raise Conflict(f"The module {target!r} already has an attribute {INJECTED!r}, which injection needs.")
        self._layers = self._made_ready(prepared, self._installed(missing))
        for target, folded in prepared.layers.items():
            self._layers[target].put(name, folded)
        left = self._attached[name].layers.keys() - prepared.layers.keys() if name in self._attached else ()
        for target in left:
            self._vacate(target, name)
        self._attached[name] = prepared
        self._checkpoints.pop(name, None)
        for sequences in self._sequences:
            sequences.forget(name)

    def _installed(self, targets: Collection[str]) -> dict[str, Adapters]:
        layers = {target: Adapters(self, self._modules[target], self._infos[target]) for target in targets}
        try:
            for layer in layers.values():
                layer.install()
        except BaseException:
            for layer in layers.values():
                layer.remove()
            raise
        return layers

    def _made_ready(self, prepared: PreparedAdapter, installed: Mapping[str, Adapters]) -> dict[str, Adapters]:
        """Every layer, with those that were just `installed`; nothing of the rest of attaching can fail."""
        layers = {**self._layers, **installed}
        try:
            for target, folded in prepared.layers.items():
                layers[target].make_ready(folded)
        except BaseException:
            for target in prepared.layers:
                layers[target].drop_idle_hook()
            for layer in installed.values():
                layer.remove()
            raise
        return layers

    def eject_adapter(self, name: str) -> None:
        """Take an adapter out. After the last one at a target, its module is exactly what it was before injection."""
        self.merged_weights.forget(name)
        for target in self._find(name).layers:
            self._vacate(target, name)
        del self._attached[name]
        self._checkpoints.pop(name, None)
        for sequences in self._sequences:
            sequences.forget(name)

    def _vacate(self, target: str, name: str) -> None:
        layer = self._layers[target]
        layer.drop(name)
        if not layer.folded:
            layer.remove()
            del self._layers[target]
            for sequences in self._sequences:
                sequences.drop(layer)

    # ---- state --------------------------------------------------------------------------------------------------

    def adapter_state_dict(self, name: str) -> dict[str, Tensor]:
        """The adapter alone, with the keys of PEFT's `get_peft_model_state_dict` (`linear.lora_A.weight`)."""
        return _own(self.checkpoint(name).tensors)

    def load_adapter_state_dict(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Replace the adapter's weights. Raises `Invalid` as `inject_adapter` does, and then changes nothing."""
        config = self.checkpoint(name).config
        checkpoint = match_checkpoint(config, _own(tensors), self.architecture, accept_unmatched=True)
        self.attach_adapter(name, self.prepare_adapter(checkpoint))
        self._checkpoints[name] = checkpoint

    def checkpoint(self, name: str) -> Checkpoint:
        """What `inject_adapter` injected under `name`. Raises `NotFound` for a name without one."""
        self._find(name)
        if name not in self._checkpoints:
            raise NotFound(f"The adapter {name!r} is attached for serving alone; its state dict isn't here.")
        return self._checkpoints[name]

    # ---- choosing -----------------------------------------------------------------------------------------------

    def probe(self, forward: Forward, rows: Batch, padded: PaddedRows | None = None) -> ModelProfile:
        """Find out by small forwards of the base on `rows` what it does with rows (see `probe_model`). Once is enough:
        what is known already isn't looked for again."""
        if self.profile.coverage is None or self.profile.rows is None:
            with without_routing(self):
                self.profile = probe_model(self.module, forward, rows, padded, self.profile)
        return self.profile

    def calibrate(self) -> None:
        """Measure which kernel is the faster here, and when, in a fraction of a second; before, it goes by what was
        typical elsewhere. Forwards may run beside it, but would disturb it."""
        self.kernels = calibrate(self.module, self.architecture, self.kernels)

    def note_effect(self, routing: Routing) -> frozenset[str]:
        """After a forward: which of the adapters that it was to follow never acted."""
        self.inactive = (self.inactive - routing.acted) | routing.inactive
        return routing.inactive

    def distrust_rows(self) -> None:
        """After a forward that lost its rows: what the probe showed of them doesn't hold for every batch."""
        if (coverage := self.profile.coverage) is not None:
            self.profile = replace(self.profile, coverage=replace(coverage, by_row=frozenset()))

    def bypassing(self, names: Collection[str]) -> frozenset[str]:
        """Which of these injected adapters act, in part, on modules whose weights the forward reads without calling
        them: nothing of that part would be in an answer."""
        coverage = self.profile.coverage or UNKNOWN
        passed = coverage.bypassed - coverage.entered
        return frozenset(name for name in names if passed and not passed.isdisjoint(self._find(name).layers))

    def routes_rows(self, names: Collection[str]) -> bool:
        """Whether `routed` is right for these injected adapters: every place where they act is shown to be entered with
        the batch's rows along its leading dimension. Where it isn't, run one forward per distinct composition."""
        coverage = self.profile.coverage or UNKNOWN
        return all(self._find(name).layers.keys() <= coverage.by_row for name in names)

    def routed(self, compositions: Sequence[Composition]) -> AbstractContextManager[Routing]:
        """Forwards inside the `with` use one composition per row of their batch. Raises as `routed_whole` does.

        Right where `routes_rows` says so, or where the caller knows that rows stay along the leading dimension.
        """
        for composition in compositions:
            self._check_composition(composition)
        self.merged_weights.interrupt()
        return routing(self, route_rows(compositions, self.kernels))

    def routed_whole(self, composition: Composition) -> AbstractContextManager[Routing]:
        """Forwards inside the `with` use `composition` for everything they compute.

        Raises:
            NotFound: a name that isn't injected.
            Invalid: a composition of adapters that don't add up.
        """
        self._check_composition(composition)
        return routing(self, route_whole(composition, self.kernels, self._merged(composition)))

    def routed_alone(self, composition: Composition) -> AbstractContextManager[Routing]:
        """As `routed_whole`, but never by a merged copy, so that the same input has the same bits every time. For what
        a sequence computes alone, such as its prompt. Raises as `routed_whole` does."""
        self._check_composition(composition)
        return routing(self, route_whole(composition, ONE_BY_ONE))

    def sequence_routing(self, rows: int) -> SequenceRouting:
        """A routing of running sequences, at most so many at once. It lives as long as the caller keeps it."""
        sequences = SequenceRouting(self, self._check_composition, self.kernels, rows)
        self._sequences.add(sequences)
        return sequences

    def _merged(self, composition: Composition) -> Merged:
        """The targets' merged copies for `composition`, if it is hot and memory was granted."""
        if not self.kernels.max_merged_bytes:
            return {}
        targets = dict.fromkeys(target for name in composition for target in self._attached[name].layers)
        layers = {target: self._layers[target] for target in targets}
        return self.merged_weights.record(tuple(composition.items()), layers, self.kernels.max_merged_bytes)

    def _check_composition(self, composition: Composition) -> None:
        for name, weight in composition.items():
            refusal = self._find(name).addition_refusal
            if refusal is not None and (len(composition) > 1 or weight != 1.0):
                raise Invalid("The adapters don't mix.", [Fault(("adapter", name), f"can't be weighted ({refusal})")])

    # ---- lookups ------------------------------------------------------------------------------------------------

    def _find(self, name: str) -> PreparedAdapter:
        if name not in self._attached:
            raise NotFound(f"No adapter named {name!r} is injected.")
        return self._attached[name]

    def base_weight(self, name: str) -> Tensor:
        """The base model's parameter or buffer of this full name, as it is stored: where some fresh adapters start."""
        owner, _, short = name.rpartition(".")
        tensor = getattr(self._modules[owner], short)
        assert isinstance(tensor, Tensor)
        return as_recorded(tensor, self._infos[owner], short)

    def _placed(self, folded: Folded, target: str) -> Folded:
        """On the target's device, in the dtype that serving computes in. A copy is made there already."""
        if folded.copy is not None:
            return folded
        module = self._modules[target]
        # A parametrised layer computes its weight and has no such parameter; an attention module has no such attribute.
        weight = getattr(module, "weight", None)
        like = weight if isinstance(weight, Tensor) else next(module.parameters())
        dtype = serving_dtype(like.dtype)
        return folded.map(lambda t: t.to(like.device, dtype if t.is_floating_point() else t.dtype))


def _own(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU: what the caller does with his tensors afterwards must not reach the model, nor the reverse."""
    return {key: tensor.detach().cpu().clone() for key, tensor in tensors.items()}
