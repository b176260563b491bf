"""Taking a segment's rows out of whatever a module takes and gives, and putting them back.

Rows are indices of the leading dimension. Values may be nested in tuples, lists and mappings, as modules like them.
"""

from collections.abc import Mapping
from types import EllipsisType
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

RowsOf: TypeAlias = slice | EllipsisType


def take_rows(value: Any, rows: RowsOf, count: int | None) -> Any:
    """`value` with only `rows` of each tensor in it that has `count` of them; other things as they are."""
    if rows is Ellipsis:
        return value
    return tree_map(lambda leaf: leaf[rows] if _has_rows(leaf, count) else leaf, value)


def put_rows(value: Any, rows: RowsOf, new: Any) -> Any:
    """`value` with `new` in the place of `rows`; the original is unchanged."""
    if rows is Ellipsis:
        return new
    if isinstance(value, Tensor):
        put = value.clone()
        put[rows] = new
        return put
    remake: Any = type(value)
    if isinstance(value, Mapping):
        return remake({key: put_rows(value[key], rows, new[key]) for key in value})
    if isinstance(value, tuple | list):
        return remake(put_rows(old, rows, n) for old, n in zip(value, new, strict=True))
    return value


def _has_rows(leaf: Any, count: int | None) -> bool:
    return isinstance(leaf, torch.Tensor) and leaf.dim() > 0 and leaf.shape[0] == count
