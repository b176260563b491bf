"""A PEFT directory's two files, as one value: a config that fits the base model, and tensors that all have their place.

Everything is checked here, against the module list alone, so that it works for a base model that isn't in memory.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from models_registry.adapters.absent_heads import label_shapes, require_labels
from models_registry.adapters.adalora import AdaLoraConfig
from models_registry.adapters.cancellation import Stopped, never, while_wanted
from models_registry.adapters.catalog import AdapterConfig
from models_registry.adapters.keys import WEIGHTS, plain_keys, todays_keys
from models_registry.adapters.lora_fields import TRAINING_ONLY
from models_registry.adapters.method import BaseWeights
from models_registry.adapters.misfits import likely_cause, why_shaped
from models_registry.adapters.places import MethodPlace, Place, resolve_places
from models_registry.adapters.saved_modules import SavedModulePlace, with_heads
from models_registry.adapters.targets import complete_config
from models_registry.adapters.unmatched import unmatched_entries, unmatched_exclusions
from models_registry.dtypes import dtype_name, dtype_named
from models_registry.errors import Conflict, Invalid, Unsupported
from models_registry.records import Architecture, Fault, ModuleInfo, ParameterInfo
from models_registry.tensor_digest import tensor_digest


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An adapter that fits its base model: every place has its tensors, every tensor its place.

    `tensors` are named as in the injected model's state dict (`linear.lora_A.weight`), on the CPU.
    """

    config: AdapterConfig
    places: tuple[Place, ...]
    tensors: Mapping[str, Tensor]
    warnings: tuple[str, ...] = ()

    @property
    def targets(self) -> tuple[ModuleInfo, ...]:
        """The modules on which it acts."""
        return tuple({place.module.name: place.module for place in self.places}.values())

    @property
    def parameters(self) -> int:
        return sum(tensor.numel() for tensor in self.tensors.values())


def not_in_memory(name: str) -> Tensor:
    """The `BaseWeights` of a base model that is only known by its `Architecture`."""
    raise Conflict(f"This config starts from the base weights ({name}); load the base model first.")


def fresh_checkpoint(
    config: AdapterConfig,
    architecture: Architecture,
    seed: int | None = None,
    base: BaseWeights = not_in_memory,
    max_bytes: int | None = None,
    accept_unmatched: bool = False,
    stopped: Stopped = never,
) -> Checkpoint:
    """The method's own initial weights, in each target's dtype; the same ones for the same `seed`. Raises as
    `lay_out_fresh`, and as `FreshLayout.draw`."""
    layout = lay_out_fresh(config, architecture, max_bytes, accept_unmatched)
    return layout.filled(layout.draw(seed, base, stopped))


def lay_out_fresh(
    config: AdapterConfig,
    architecture: Architecture,
    max_bytes: int | None = None,
    accept_unmatched: bool = False,
) -> "FreshLayout":
    """The places of a config's initial weights. Raises `Invalid` where the config doesn't fit the base model, with
    everything at once, or where the adapter would hold more than `max_bytes`. With `accept_unmatched`, what the config
    names and the base model lacks is a warning."""
    heads = with_heads(config.task_type, config.modules_to_save, architecture)
    config = complete_config(config.model_copy(update={"modules_to_save": heads or None}), architecture)
    places = resolve_places(config, architecture, accept_unmatched)
    require_labels(architecture)
    targets = [place.module for place in places if isinstance(place, MethodPlace)]
    refusals = [(target.name, config.fresh_refusal(target)) for target in targets]
    if faults := [Fault(("config",), f"{name!r}: {refusal}") for name, refusal in refusals if refusal]:
        raise Unsupported("The config's initial weights are not served.", faults)
    if max_bytes is not None and (bytes_ := sum(map(_bytes_at, places))) > max_bytes:
        raise Invalid(
            f"The adapter would hold {bytes_} bytes, more than {max_bytes}, the service's limit "
            "(ADAPTER_SERVICE_MAX_UPLOAD_BYTES); lower its rank or target fewer modules."
        )
    return FreshLayout(
        config, places, (*_warnings(config), *_unmatched(config, architecture, places, accept_unmatched))
    )


@dataclass(frozen=True, slots=True)
class FreshLayout:
    """The places of a new adapter's tensors."""

    config: AdapterConfig
    places: tuple[Place, ...]
    warnings: tuple[str, ...]

    def draw(self, seed: int | None, base: BaseWeights, stopped: Stopped = never) -> dict[str, Tensor]:
        """Initial weights, the same ones for the same `seed`. Raises `Conflict` where they start from the base's, which
        aren't at hand, and `Cancelled` where `stopped`, which is asked before each target, says that nobody waits."""
        generator = torch.Generator()
        generator.seed() if seed is None else generator.manual_seed(seed)
        tensors: dict[str, Tensor] = {}
        for place in while_wanted(self.places, stopped):
            tensors |= {key: tensor.cpu() for key, tensor in place.initial(generator, base).items()}
        return tensors

    def filled(self, tensors: Mapping[str, Tensor]) -> Checkpoint:
        """With tensors as `draw` gave them."""
        return Checkpoint(self.config, self.places, tensors, self.warnings)


def _bytes_at(place: Place) -> int:
    return sum(map(prod, place.shapes.values())) * dtype_named(place.module.dtype).itemsize


def match_checkpoint(
    config: AdapterConfig, tensors: Mapping[str, Tensor], architecture: Architecture, accept_unmatched: bool = False
) -> Checkpoint:
    """Give every tensor of an upload its place. Keys may carry PEFT's `base_model.model.` in front. With
    `accept_unmatched`, what the config names and the base model lacks is a warning, as long as no tensor belongs to it.

    Raises:
        Invalid: lists every key without a place, missing tensor, wrong shape or dtype, and non-finite number.
    """
    return lay_out(config, architecture, accept_unmatched).match(tensors)


def lay_out(config: AdapterConfig, architecture: Architecture, accept_unmatched: bool = False) -> "Layout":
    """The places of a config's adapters. Raises `Invalid` where it doesn't fit the base model, with all reasons."""
    trained = [field for field in TRAINING_ONLY if getattr(config, field, None)]
    config = complete_config(config.model_copy(update=dict.fromkeys(trained)), architecture)
    places = resolve_places(config, architecture, accept_unmatched)
    warnings = [f"{field} changes training alone and is not stored: this is a plain LoRA." for field in trained]
    return Layout(
        config, architecture, places, (*warnings, *_unmatched(config, architecture, places, accept_unmatched))
    )


@dataclass(frozen=True, slots=True)
class Layout:
    """What all adapters of one completed config have in common: the places of their tensors."""

    config: AdapterConfig
    architecture: Architecture
    places: tuple[Place, ...]
    warnings: tuple[str, ...] = ()

    def match(self, tensors: Mapping[str, Tensor]) -> Checkpoint:
        """As `match_checkpoint`."""
        tensors = plain_keys(tensors, self.architecture)
        placed = {key: shape for place in self.places for key, shape in place.shapes.items()}
        tensors, renamed = todays_keys(tensors, self._has_place(placed), self.architecture.renamings)
        shapes = label_shapes(placed, tensors, self.architecture.absent_head)
        counters = {key for place in self.places if isinstance(place, SavedModulePlace) for key in place.counters}
        training_only = sorted(key for key in tensors if _is_training_only(key))
        tensors = {
            key: tensor
            for key, tensor in tensors.items()
            if not _is_twin(key, tensor, tensors) and not _is_training_only(key)
        }
        copies = {key for key in tensors.keys() - shapes.keys() if _is_copy(key, tensors[key], self.architecture)}
        targets = {place.module.name for place in self.places}
        unplaced = (key for key in tensors if key not in shapes and key not in copies)
        found = [key for key in shapes if key in tensors]
        faults = [
            *(Fault((WEIGHTS, key), "is missing") for key in shapes if key not in tensors),
            *(_misplaced(key, tensors[key], targets, self.architecture) for key in unplaced),
            *(fault for key in found for fault in _wrong_shape(key, tensors[key], shapes[key], self.architecture)),
            *_wrong_numbers({key: tensors[key] for key in found if key not in counters}, self.places),
        ]
        if faults:
            cause = likely_cause([key for key in tensors if key not in copies], shapes, self.architecture)
            raise Invalid(cause or "The weights don't fit the config and the base model.", faults)
        warnings = [f"{key} equals the base model's own and is not stored." for key in sorted(copies)]
        warnings += [f"{key} is used in training only and is not stored." for key in training_only]
        if first := next(iter(renamed.items()), None):
            old, new = first
            warnings.append(f"{len(renamed)} keys have names of older versions of transformers: {old} is {new} now.")
        ordered = {key: tensors[key] for key in shapes}
        return Checkpoint(self.config, self.places, ordered, (*_warnings(self.config), *self.warnings, *warnings))

    def _has_place(self, shapes: Collection[str]) -> Callable[[str], bool]:
        """Also as a copy of the base's own."""
        return lambda key: key in shapes or _base_parameter(key, self.architecture) is not None


def _is_twin(key: str, tensor: Tensor, tensors: Mapping[str, Tensor]) -> bool:
    """With `bias="all"` PEFT writes a saved module's bias twice more: the original, which doesn't act, and the copy."""
    if ".original_module." in key:
        return key.replace(".original_module.", ".") in tensors
    twin = tensors.get(key.replace(".modules_to_save.", "."))
    return twin is not None and twin is not tensor and torch.equal(twin, tensor)


def _is_training_only(key: str) -> bool:
    return any(f".{beginning}" in key for beginning in TRAINING_ONLY.values())


def _is_copy(key: str, tensor: Tensor, architecture: Architecture) -> bool:
    """PEFT saves the base's own embeddings along with adapters on them; equal ones add nothing."""
    parameter = _base_parameter(key, architecture)
    if parameter is None or tuple(tensor.shape) != parameter.shape:
        return False
    return tensor_digest(tensor.to(dtype_named(parameter.dtype))) == parameter.digest


def _base_parameter(key: str, architecture: Architecture) -> ParameterInfo | None:
    name, _, parameter = key.replace(".base_layer.", ".").rpartition(".")
    owner = next((module for module in architecture.modules if module.name == name), None)
    return None if owner is None else owner.parameters.get(parameter)


def _misplaced(key: str, tensor: Tensor, targets: Collection[str], architecture: Architecture) -> Fault:
    """Why a key has no place, by the longest module name that it begins with."""
    if (parameter := _base_parameter(key, architecture)) is not None:
        reasons = why_shaped(tuple(tensor.shape), parameter.shape, architecture)
        differs = "is a copy of a base weight but differs from this base model's"
        return Fault((WEIGHTS, key), "; ".join([differs, *reasons]))
    owner = max((m.name for m in architecture.modules if key.startswith(f"{m.name}.")), key=len, default="")
    rest = key.removeprefix(f"{owner}.").split(".")[0]
    if owner in targets:
        reason = f"is no tensor of this method on {owner!r}"
    elif owner and ("lora_" in rest or rest == "ia3_l"):
        reason = f"has no place: the config doesn't target {owner!r}"
    else:
        reason = f"has no place: the base model has no module {key.partition('.lora_')[0].removesuffix('.ia3_l')!r}"
    return Fault((WEIGHTS, key), reason)


def _wrong_shape(key: str, tensor: Tensor, shape: tuple[int, ...], architecture: Architecture) -> Iterator[Fault]:
    actual = tuple(tensor.shape)
    if actual != shape:
        message = f"has shape {list(actual)} where {list(shape)} is needed"
        yield Fault((WEIGHTS, key), "; ".join([message, *why_shaped(actual, shape, architecture)]))


def _wrong_numbers(tensors: Mapping[str, Tensor], places: tuple[Place, ...]) -> Iterator[Fault]:
    dtypes = {key: place.module.dtype for place in places for key in place.shapes}
    alike: dict[tuple[torch.dtype, str], list[str]] = {}
    for key, tensor in tensors.items():
        if not tensor.is_floating_point() or tensor.dtype.itemsize < 2:
            reason = f"has dtype {dtype_name(tensor.dtype)}; a floating one of 16 bits or more is needed"
            yield Fault((WEIGHTS, key), reason)
        elif tensor.numel():
            alike.setdefault((tensor.dtype, dtypes[key]), []).append(key)
    for (_, dtype), keys in alike.items():
        # NaN, if one is there; and what overflows at its place is infinite there. One look at those of all tensors:
        # asking each for its numbers costs more than finding them.
        extremes = torch.stack([extreme for key in keys for extreme in tensors[key].aminmax()]).view(-1, 2)
        finite = torch.isfinite(extremes.to(dtype_named(dtype))).all(dim=1)
        wrong = (key for key, is_finite in zip(keys, finite.tolist(), strict=True) if not is_finite)
        yield from (Fault((WEIGHTS, key), f"holds NaN or Inf, or overflows {dtype}") for key in wrong)


def _unmatched(
    config: AdapterConfig, architecture: Architecture, places: tuple[Place, ...], accepted: bool
) -> Iterator[str]:
    """Where entries that name nothing were not accepted, there are none."""
    targets = tuple(place.module for place in places if isinstance(place, MethodPlace))
    faults = unmatched_entries(config, architecture, targets) if accepted else []
    for fault in (*faults, *unmatched_exclusions(config, architecture)):
        yield f"{'.'.join(str(part) for part in fault.loc[1:])}: {fault.message}."


def _warnings(config: AdapterConfig) -> tuple[str, ...]:
    if isinstance(config, AdaLoraConfig) and config.total_step is None:
        return ("total_step is not set: the adapter can be served, but neither trained nor read by PEFT without it.",)
    return ()
