"""Rows of a batch that share a composition."""

from dataclasses import dataclass
from typing import Final

from models_registry.injection.merged.merged_weights_cache import CompositionKey
from models_registry.injection.routing.rows import RowsOf

EVERY_ROW: Final = ...  # not slice(None): a lone token id has no dimension to slice


@dataclass(frozen=True, slots=True)
class Segment:
    """Neighbouring rows that share a composition, by their place along the leading dimension; `...` for all rows."""

    rows: RowsOf
    composition: CompositionKey
