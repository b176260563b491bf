"""Named tensors in and out of a module's forward: which names it takes, what a row is, what is returned."""

import inspect
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from itertools import chain
from typing import Any, cast

import torch
from torch import Tensor, nn

from models_registry.errors import Invalid
from models_registry.records import Fault


@dataclass(frozen=True, slots=True)
class Signature:
    """What a forward can be given: all names, those without a default, those that can't be given by keyword."""

    names: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    positional: tuple[str, ...] = ()
    takes_any: bool = False


def signature_of(module: nn.Module) -> Signature:
    """To be kept: finding it out takes longer than reading a short text."""
    parameters = inspect.signature(module.forward).parameters.values()
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return Signature(
        names=tuple(p.name for p in named),
        required=tuple(p.name for p in named if p.default is p.empty),
        positional=tuple(p.name for p in named if p.kind is p.POSITIONAL_ONLY),
        takes_any=any(p.kind is p.VAR_KEYWORD for p in parameters),
    )


def name_faults(given: Collection[str], known: Collection[str], required: Iterable[str]) -> Iterator[Fault]:
    """Every unknown and every missing input name."""
    for name in given:
        if name not in known:
            yield Fault(
                ("inputs", name), f"The model has no such input; it takes {', '.join(known) or 'none by name'}."
            )
    for name in required:
        if name not in given:
            yield Fault(("inputs", name), "This input is missing; the model's forward needs it.")


def count_rows(tensors: Mapping[str, Tensor]) -> int | None:
    """The common leading dimension; None where a tensor has no dimension at all, for then nothing is a row.

    Raises `Invalid` where the leading dimensions differ, or are zero.
    """
    counts = {name: tensor.shape[0] for name, tensor in tensors.items() if tensor.ndim > 0}
    if len(set(counts.values())) > 1:
        faults = [Fault(("inputs", name), f"This input has {count} rows.") for name, count in counts.items()]
        raise Invalid("The inputs are ragged: their leading dimensions, which are the rows, differ.", faults)
    if 0 in counts.values():
        raise Invalid("The inputs have no rows.", [Fault(("inputs", name), "Zero rows.") for name in counts])
    return next(iter(counts.values()), None) if len(counts) == len(tensors) else None


def to_module(tensors: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """On the module's device; floating tensors in its floating dtype, all others as they came."""
    own = next(chain(module.parameters(), module.buffers()), None)
    device = torch.device("cpu") if own is None else own.device
    if not any(tensor.is_floating_point() for tensor in tensors.values()):
        return {name: tensor.to(device) for name, tensor in tensors.items()}
    floating = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    return {
        name: tensor.to(device, floating if tensor.is_floating_point() else tensor.dtype)
        for name, tensor in tensors.items()
    }


def name_outputs(result: object) -> dict[str, Tensor]:
    """The tensors of what a forward returned, under their field names; all else (a cache, nested tuples) is left out.

    Raises `Invalid` where there is no tensor at all.
    """
    outputs = {name: value for name, value in _fields(result) if isinstance(value, Tensor)}
    if not outputs:
        raise Invalid(f"The model's forward returned no tensor but a {type(result).__name__}; it can't be served.")
    return outputs


def _fields(result: object) -> Iterable[tuple[str, Any]]:
    if isinstance(result, Mapping):
        return ((str(name), value) for name, value in cast(Mapping[Any, Any], result).items())
    if is_dataclass(result):
        return ((field.name, getattr(result, field.name)) for field in fields(result))
    if isinstance(result, tuple | list):
        values = cast(Iterable[Any], result)
        names = getattr(result, "_fields", None)  # what makes a tuple a named one
        return zip(names, values, strict=True) if names else ((f"output_{i}", v) for i, v in enumerate(values))
    return [("output", result)]
