"""A request that is ready to run, and what of it decides with whom it may share a forward."""

import time
from collections.abc import Hashable
from concurrent.futures import Future
from dataclasses import dataclass

from models_registry.base_models.spec import Rows
from models_registry.errors import DeadlinePassed
from models_registry.records import AdapterVersion
from service.engine.request import InferAnswer, InferRequest
from service.engine.selection import Selection, distinct_versions


@dataclass(frozen=True, slots=True)
class Kind:
    """Jobs with equal `key` may share a forward. `length` is how many tokens their rows have where shorter ones can be
    padded, else 0."""

    key: Hashable
    length: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A request that is ready to run: inputs read, adapters staged and held until `future` is done.

    `rows` is None for text generation, which reads its texts itself. `selections` is one for all, or one per row.
    Without a `kind` it runs alone. `load_s` is how long it waited for its adapters.
    """

    request: InferRequest
    selections: tuple[Selection, ...]
    rows: Rows | None
    future: Future[InferAnswer]
    admitted_at: float
    kind: Kind | None = None
    load_s: float = 0.0

    @property
    def versions(self) -> tuple[AdapterVersion, ...]:
        return distinct_versions(self.selections)

    @property
    def adapters(self) -> frozenset[str]:
        """Names, whatever the versions: whom it counts for where callers take turns."""
        return frozenset(part.version.adapter for selection in self.selections for part in selection.parts)

    @property
    def size(self) -> int:
        """How many rows it adds to a batch."""
        return len(self.request.inputs.texts) if self.rows is None else self.rows.count or 1

    def begin(self) -> bool:
        """Whether it may run: its caller still waits and its deadline hasn't passed. Then nobody can cancel it."""
        if not self.future.set_running_or_notify_cancel():
            return False
        if self.request.deadline is not None and time.monotonic() > self.request.deadline:
            self.future.set_exception(DeadlinePassed("The request's deadline passed in the queue; it never ran."))
            return False
        return True
