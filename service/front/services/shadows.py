"""One thread that runs requests again on another version, while nothing else is asked of their model.

No caller waits for a shadow: it is charged to no team, delays no removal of a version, and is cancelled as soon as a
caller's request arrives. What can't run soon is dropped, and counted as dropped.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from typing import Final

from models_registry.alias_counters import latency_name
from models_registry.records import AdapterVersion
from service.front.hosts.hosted_model import HostedModel
from service.front.services.alias_meter import AliasMeter
from service.front.services.shadow_answers import compare, size_of
from service.protocol.errors import HostLost
from service.protocol.types import HostAnswer, InferCall, Selection, distinct_versions

log = logging.getLogger(__name__)

MOST_WAITING: Final = 16
MOST_BYTES: Final = 16 << 20
"""Of inputs and outputs of one request."""
PATIENCE_S: Final = 5.0
"""How long a shadow waits for its model to be idle."""
PAUSE_S: Final = 0.02
"""How long the answer to compare with has to reach its caller first, and how often the runner checks."""
JOIN_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Shadow:
    """A request to run on `version`, in the place of `against`, which answered after `their_s`."""

    adapter: str
    alias: str
    version: int
    against: int
    hosted: HostedModel
    call: InferCall
    selections: tuple[Selection, ...]
    answer: HostAnswer
    their_s: float
    asked: float

    @property
    def size(self) -> int:
        inputs = self.call.inputs
        return size_of(self.answer) + sum(tensor.nbytes for tensor in inputs.tensors.values())


class Shadows:
    """Constructing it starts nothing."""

    def __init__(self, meter: AliasMeter, is_there: Callable[[AdapterVersion], bool]) -> None:
        """`is_there` says whether the registry still has a version."""
        self._meter = meter
        self._is_there = is_there
        self._waiting = deque[Shadow]()
        self._changed = threading.Condition()
        self._stopped = False
        self._deadly: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="shadows", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Drop what waits."""
        with self._changed:
            self._stopped = True
            self._waiting.clear()
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)

    def enqueue(self, shadow: Shadow) -> None:
        """Never blocks for long. One too many, or too large, is dropped."""
        with self._changed:
            if fits := len(self._waiting) < MOST_WAITING and shadow.size <= MOST_BYTES and not self._stopped:
                self._waiting.append(shadow)
                self._changed.notify_all()
        if not fits:
            self._count(shadow, "dropped")

    def _run(self) -> None:
        while (shadow := self._next()) is not None:
            try:
                self._try(shadow)
            except Exception:  # without this thread nothing would be compared any more
                log.exception("a shadow could not be run")
                self._count(shadow, "failed")

    def _next(self) -> Shadow | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopped)
            return None if self._stopped else self._waiting.popleft()

    def _try(self, shadow: Shadow) -> None:
        if not self._is_idle_soon(shadow) or self._gone(shadow):
            self._count(shadow, "dropped")
            return
        begun = time.monotonic()
        id, future = shadow.hosted.infer(replace(shadow.call, alone=True, remaining_s=None), shadow.selections)
        if not self._is_done_undisturbed(shadow.hosted, future):
            shadow.hosted.host.cancel(id)
            self._count(shadow, "dropped")
        elif error := future.exception():
            if isinstance(error, HostLost) and id in error.running:
                self._deadly.add(_key(shadow))  # once is enough
            self._count(shadow, "failed")
        else:
            took = latency_name("latency", time.monotonic() - begun)
            self._count(shadow, compare(shadow.answer, future.result()), took, latency_name("theirs", shadow.their_s))
        if gone := self._gone(shadow):  # removed while it ran, which brought it into memory
            shadow.hosted.remove(gone)

    def _gone(self, shadow: Shadow) -> tuple[AdapterVersion, ...]:
        """Those of its versions that the registry doesn't have any more: no lease keeps them."""
        versions = distinct_versions(shadow.selections)
        return tuple(version for version in versions if not self._is_there(version))

    def _is_idle_soon(self, shadow: Shadow) -> bool:
        until = shadow.asked + PATIENCE_S
        while not self._stopped and time.monotonic() < until and _key(shadow) not in self._deadly:
            if time.monotonic() >= shadow.asked + PAUSE_S and not shadow.hosted.in_flight:
                return True
            time.sleep(PAUSE_S)
        return False

    def _is_done_undisturbed(self, hosted: HostedModel, future: Future[HostAnswer]) -> bool:
        """Before anybody else asks for something."""
        while not wait([future], PAUSE_S).done:
            if self._stopped or hosted.in_flight > 1:
                return False
        return True

    def _count(self, shadow: Shadow, *names: str) -> None:
        self._meter.count(shadow.adapter, shadow.alias, shadow.version, shadow.against, names)


def _key(shadow: Shadow) -> str:
    """The version's own."""
    return next(
        (
            part.key
            for selection in shadow.selections
            for part in selection.parts
            if part.version.version == shadow.version and part.version.adapter == shadow.adapter
        ),
        "",
    )
