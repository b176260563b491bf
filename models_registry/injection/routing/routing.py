"""Which rows of a batch use which adapters: handed to one forward, never kept in a model.

A routing belongs to one forward. It travels in a context variable, so that threads and tasks can't see each other's,
and is found again by the model it was made for.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import groupby
from types import MappingProxyType
from typing import Final, TypeAlias

from models_registry.injection.kernels.kernel_table import KernelTable, Stacking
from models_registry.injection.merged.merged_weights_cache import Merged
from models_registry.injection.routing.pages import Paging
from models_registry.injection.routing.plan import Plan
from models_registry.injection.routing.segment import EVERY_ROW, Segment

Composition: TypeAlias = Mapping[str, float]
"""Injected adapter name -> weight. Empty: the base model. The deltas of several add up."""

NO_COPIES: Final[Merged] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Routing:
    """Segments in row order, without those of the base. `rows` is the batch's size; None where the forward has no row
    dimension to look for, because one composition holds for all of it. `acted` fills with the adapters that the forward
    really reached, `plans` with what they do at each layer. `merged` are copies that answer for the one composition.
    `paging` is there where the rows are running sequences."""

    rows: int | None
    segments: tuple[Segment, ...]
    stacking: Stacking
    merged: Merged
    paging: Paging | None = None
    acted: set[str] = field(default_factory=set[str])
    plans: dict[object, Plan] = field(default_factory=dict[object, Plan])

    @property
    def inactive(self) -> frozenset[str]:
        """Adapters that were asked for and never acted."""
        return frozenset(name for segment in self.segments for name, _ in segment.composition) - self.acted


def route_rows(compositions: Sequence[Composition], kernels: KernelTable) -> Routing:
    """One composition per row."""
    segments: list[Segment] = []
    start = 0
    for composition, run in groupby(tuple(composition.items()) for composition in compositions):
        stop = start + len(list(run))
        if composition:
            segments.append(Segment(slice(start, stop), composition))
        start = stop
    return Routing(len(compositions), tuple(segments), Stacking.of(kernels), NO_COPIES)


def route_whole(composition: Composition, kernels: KernelTable, merged: Merged = NO_COPIES) -> Routing:
    """One composition for whatever the forward computes."""
    segments = (Segment(EVERY_ROW, tuple(composition.items())),) if composition else ()
    return Routing(None, segments, Stacking.of(kernels), merged)


_routings: ContextVar[Mapping[object, Routing]] = ContextVar("routings", default=MappingProxyType({}))


def routing_of(model: object) -> Routing | None:
    """The routing of the forward that is running now, if it was made for `model`."""
    return _routings.get().get(model)


def without_routing(model: object) -> AbstractContextManager[Routing]:
    """Let forwards inside the `with` be the base's."""
    return routing(model, route_whole({}, KernelTable()))


@contextmanager
def routing(model: object, made: Routing) -> Generator[Routing]:
    """Let every forward of `model` inside the `with`, in this thread or task, follow `made`."""
    token = _routings.set({**_routings.get(), model: made})
    try:
        yield made
    finally:
        _routings.reset(token)
