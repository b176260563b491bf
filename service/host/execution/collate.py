"""Rows on their way into a batch and out of it: joined, taken, padded on the right and cut back."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from models_registry.base_models.spec import Padding, Rows
from models_registry.errors import Invalid
from models_registry.inputs.values import OutputValue
from models_registry.records import Fault

Values: TypeAlias = Mapping[str, OutputValue]
"""A model's outputs by name."""


def tokens_of(rows: Rows) -> int:
    """How many tokens each row has where it may be padded to more, else 0."""
    names = rows.tensors.keys() & rows.padding.fill.keys() if rows.padding else ()
    return next((rows.tensors[name].shape[1] for name in names), 0)


def join_rows(parts: Sequence[Rows]) -> Rows:
    """All rows in turn, padded to the longest. The parts' inputs are alike but for padding and a mask that is not
    needed without; each has rows."""
    if len(parts) == 1:
        return parts[0]
    length, padding = max(map(tokens_of, parts)), parts[0].padding
    names = set[str]().union(*(part.tensors for part in parts))
    if padding is not None and any(tokens_of(part) < length for part in parts):
        names.add(padding.mask)
    tensors = {name: torch.cat([_padded(part, name, length, padding) for part in parts]) for name in sorted(names)}
    return replace(parts[0], tensors=tensors, count=sum(part.count or 0 for part in parts))


def rows_at(rows: Rows, indices: Sequence[int]) -> Rows:
    """Some rows, in that order. Padding stays as it was read for the whole request, so that shapes agree."""
    tensors = {name: tensor[_place(indices, tensor.device)] for name, tensor in rows.tensors.items()}
    return replace(rows, tensors=tensors, count=len(indices))


def distinct_rows(rows: Rows, count: int, among: int) -> list[int]:
    """The places of `count` rows of which none is another one again, looked for `among` the first ones; there may be
    fewer."""
    found: list[int] = []
    for place in range(min(among, rows.count or 0)):
        if not any(all(torch.equal(x[place], x[other]) for x in rows.tensors.values()) for other in found):
            found.append(place)
            if len(found) == count:
                break
    return found


def shortened(rows: Rows, length: int) -> Rows:
    """The first `length` tokens of each row."""
    fill = rows.padding.fill if rows.padding else {}
    return replace(rows, tensors={k: v[:, :length] if k in fill else v for k, v in rows.tensors.items()})


def values_at(values: Values, indices: Sequence[int], length: int, by_token: Collection[str]) -> Values:
    """These rows' outputs, in that order; of those in `by_token` only the first `length` places."""
    return {name: _values_at(value, indices, length if name in by_token else None) for name, value in values.items()}


def join_values(name: str, parts: Sequence[OutputValue]) -> OutputValue:
    """All rows' values of the output `name` in turn. Raises `Invalid` where they differ in shape."""
    tensors = [part for part in parts if isinstance(part, Tensor)]
    if not tensors:
        return tuple(word for part in parts if not isinstance(part, Tensor) for word in part)
    if len({tensor.shape[1:] for tensor in tensors}) > 1:
        shapes = ", ".join(str(list(tensor.shape)) for tensor in tensors)
        fault = Fault(("outputs", name), f"differs in shape between rows ({shapes}); ask for fewer rows or adapters")
        raise Invalid("The rows' outputs can't be joined.", [fault])
    return torch.cat(tensors)


def _values_at(value: OutputValue, indices: Sequence[int], length: int | None) -> OutputValue:
    if not isinstance(value, Tensor):
        return tuple(value[index] for index in indices)
    rows = value[_place(indices, value.device)]
    return rows if length is None else rows[:, :length]


def _place(indices: Sequence[int], device: torch.device) -> slice | Tensor:
    """Neighbours are a view, which costs nothing."""
    if len(indices) == indices[-1] - indices[0] + 1 and list(indices) == sorted(indices):
        return slice(indices[0], indices[-1] + 1)
    return torch.tensor(indices, device=device)


def _padded(part: Rows, name: str, length: int, padding: Padding | None) -> Tensor:
    own = tokens_of(part)
    if padding is None or name not in padding.fill:
        return part.tensors[name]
    if name not in part.tensors:  # the mask: what came without one was all its own
        ids = next(iter(part.tensors.values()))
        tensor = torch.ones(len(ids), own, dtype=torch.long, device=ids.device)
    else:
        tensor = part.tensors[name]
    return tensor if own == length else F.pad(tensor, (0, length - own), value=padding.fill[name])
