"""The routing of running sequences: rows are added, moved and removed while all others continue.

routing = adapted.sequence_routing(16)
routing.place(0, {"tone": 1.0})
with routing.active(4) as made:     # a step of rows 0 to 3; those without a composition are the base's
    model(rows)
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from models_registry.injection.kernels.kernel_table import KernelTable, Stacking
from models_registry.injection.merged.merged_weights_cache import CompositionKey
from models_registry.injection.routing.pages import Pages, Paging
from models_registry.injection.routing.routing import NO_COPIES, Composition, Routing, routing
from models_registry.injection.routing.segment import Segment

ONE_BY_ONE = KernelTable({})
"""What no table takes is added one row after the other, however many there are."""


class SequenceRouting:
    """Which composition each of `rows` rows has, for as long as an engine runs. `check` raises for compositions that
    can't be answered. What a row is answered with depends on its own composition alone, bit by bit, as long as
    `kernels.max_paged_bytes` suffices for the low-rank parts of all compositions in use.

    A composition that joins is copied once; one that is there already, and other rows, cost nothing.
    Use it, attach adapters and eject them on one thread.
    """

    def __init__(self, model: object, check: Callable[[Composition], None], kernels: KernelTable, rows: int) -> None:
        self._model = model
        self._check = check
        self._rows: list[CompositionKey] = [()] * rows
        self._pages = Pages(kernels.max_paged_bytes)
        self._made: dict[int, Routing] = {}

    def place(self, row: int, composition: Composition) -> None:
        """Let `row` be answered with `composition`.

        Raises:
            NotFound: a name that isn't injected.
            Invalid: a composition of adapters that don't add up.
        """
        self._check(composition)
        self._put(row, tuple(composition.items()))

    def move(self, source: int, row: int) -> None:
        """Give `row` the composition of `source`, which is the base's then."""
        composition = self._rows[source]
        self._put(source, ())
        self._put(row, composition)

    def clear(self, row: int) -> None:
        """Let `row` be the base's."""
        self._put(row, ())

    def active(self, rows: int) -> AbstractContextManager[Routing]:
        """Forwards inside the `with` are of a batch of the first `rows` rows, so many in all.

        Raises:
            NotFound: a row's adapter has been ejected.
        """
        for composition in self._rows[:rows]:
            self._check(dict(composition))
        made = self._made.get(rows)
        if made is None:
            made = self._made[rows] = self._make(rows)
        return routing(self._model, made)

    @property
    def bytes(self) -> int:
        """What the copies of low-rank parts take."""
        return self._pages.bytes

    def release(self) -> bool:
        """Give the copies' memory back; what rows still need is copied again at the next step. Whether there was
        any."""
        held = self._pages.bytes
        self._pages.drop_all()
        self._made.clear()
        return held > 0

    def apart(self, compositions: Sequence[Composition]) -> AbstractContextManager[Routing]:
        """Forwards inside the `with` are of a batch that has one row of tokens for each of these `compositions`, such
        as prompts. Each row is computed by itself, and has the bits that it has alone. Raises as `place` does."""
        for composition in compositions:
            self._check(composition)
        own = [tuple(composition.items()) for composition in compositions]
        return routing(self._model, Routing(len(own), _apart(own), Stacking.of(ONE_BY_ONE), NO_COPIES))

    def forget(self, name: str) -> None:
        """Give up what was copied of an adapter, which has been ejected or replaced."""
        if self._pages.forget(name) or any(name == own for row in self._rows for own, _ in row):
            self._made.clear()

    def drop(self, layer: object) -> None:
        """Give up what was kept for a layer that has no adapters any more."""
        self._pages.drop(layer)
        self._made.clear()

    def _put(self, row: int, composition: CompositionKey) -> None:
        if self._rows[row] != composition:
            self._rows[row] = composition
            self._made.clear()

    def _make(self, rows: int) -> Routing:
        own = (*self._rows[:rows], *((),) * (rows - len(self._rows)))
        return Routing(rows, _apart(own), Stacking.of(ONE_BY_ONE), NO_COPIES, Paging(self._pages, own))


def _apart(compositions: Sequence[CompositionKey]) -> tuple[Segment, ...]:
    """Every row a segment of its own: neighbours that have the same composition are not computed together, for then
    they would have other bits than alone."""
    return tuple(Segment(slice(row, row + 1), key) for row, key in enumerate(compositions) if key)
