"""A request that is ready to run, and what decides which others may share its forward."""

import threading
import time
from collections.abc import Hashable
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field

from models_registry.base_models.spec import Rows
from models_registry.base_models.writing import Prompt
from models_registry.errors import DeadlinePassed
from models_registry.records import AdapterVersion
from service.host.generation.grammar import Grammar
from service.protocol.texts import OnPart
from service.protocol.types import HostAnswer, InferCall, Selection, distinct_versions


@dataclass(frozen=True, slots=True)
class BatchKey:
    """Jobs with equal `common` may share a forward. `length` is how many tokens their rows have where shorter ones can
    be padded, else 0."""

    common: Hashable
    length: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A request whose inputs are read, or a part of one; its adapters are held until its caller's future is done.

    `rows` is None where text is to be written. `selections` is one for all, or one per row.
    Without a `batch_key` it runs alone. A part has a `future` of its own, and its caller's as `whole`. `left` is set
    once the caller has disconnected: what runs then runs for nobody. Only what is `divisible` may be cut into parts;
    `start` is the first row's place in its caller's request. `deadline` is in `time.monotonic()` seconds, `id` the
    request's own; `on_part` hears its texts. Texts that are to be written have their `prompts`, and the form that
    each is held to.
    """

    request: InferCall
    selections: tuple[Selection, ...]
    rows: Rows | None
    future: Future[HostAnswer]
    admitted_at: float
    batch_key: BatchKey | None = None
    whole: Future[HostAnswer] | None = None
    left: threading.Event = field(default_factory=threading.Event)
    divisible: bool = False
    start: int = 0
    deadline: float | None = None
    id: int = -1
    on_part: OnPart | None = None
    prompts: tuple[Prompt, ...] = ()
    grammar: Grammar | None = None
    queued_at: float = field(default_factory=time.monotonic)
    # Asked for at every batch that is formed, so found out once.
    keys: frozenset[str] = field(init=False)
    adapters: frozenset[str] = field(init=False)
    """Names, whatever the versions: whom it counts for where its team's adapters take turns."""

    def __post_init__(self) -> None:
        parts = [part for selection in self.selections for part in selection.parts]
        object.__setattr__(self, "keys", frozenset(part.key for part in parts))
        object.__setattr__(self, "adapters", frozenset(part.version.adapter for part in parts))

    @property
    def team(self) -> str:
        return self.request.team

    @property
    def versions(self) -> tuple[AdapterVersion, ...]:
        return distinct_versions(self.selections)

    @property
    def size(self) -> int:
        """How many rows it adds to a batch."""
        return self.request.inputs.count if self.rows is None else self.rows.count or 1

    def begin(self) -> bool:
        """Whether it may run: its caller still waits and its deadline hasn't passed. Then nobody can cancel it."""
        caller = self.whole or self.future
        over: Exception | None = None
        if caller.running():  # an earlier part has begun
            over = CancelledError() if self.left.is_set() else None
        elif not _set_running(caller):
            return False
        elif self.deadline is not None and time.monotonic() > self.deadline:
            over = DeadlinePassed("The request's deadline passed in the queue; it never ran.")
        if over is not None:
            with suppress(InvalidStateError):  # another part failed at this moment
                caller.set_exception(over)
            return False
        return self.whole is None or self.future.set_running_or_notify_cancel()


def _set_running(caller: Future[HostAnswer]) -> bool:
    """Whether it is the first time, and nobody has ended it."""
    try:
        return not caller.done() and caller.set_running_or_notify_cancel()
    except RuntimeError:  # another part of it failed at this moment
        return False
