"""Has base models built in hosts of their own, several at a time, and says what became of each.

A build that takes long gives its turn to the next one: it may hang, and then it would hold up every model behind it.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TypeVar

from models_registry.errors import Invalid, RegistryError, Unavailable
from models_registry.records import BaseModel
from service.front.hosts.hosted_model import HostedModel
from service.front.hosts.place import Place
from service.protocol.errors import HostLost
from service.protocol.host import ModelHost, Transport
from service.protocol.types import BuildOrder, Built

T = TypeVar("T")

log = logging.getLogger(__name__)

STALLED_S = 20.0
"""A build that has taken so long no longer counts among those that run at a time."""
OPENING_S = 10.0
"""So long a registration waits for what its source's check imports."""
MOST_DEATHS = 3
"""A host that has died so often while it was building isn't started again."""


@dataclass(frozen=True, slots=True)
class Opening:
    """A host that was started, and its check of the model's source."""

    host: ModelHost
    opened: Future[None]


class DiedTooOften(Invalid):
    """The model's hosts died so often that it has failed. Loading it again starts the count anew."""


class ModelLoader:
    """`finish` gets what was built, or why nothing was. Constructing it starts nothing."""

    def __init__(
        self,
        transport: Transport,
        order_of: Callable[[BaseModel], BuildOrder],
        timeout_s: float,
        is_wanted: Callable[[BaseModel, Place], bool],
        finish: Callable[[BaseModel, Place, HostedModel | BaseException], None],
    ) -> None:
        self._transport = transport
        self._order_of = order_of
        self._timeout_s = timeout_s
        self._is_wanted = is_wanted
        self._finish = finish
        self._orders: SimpleQueue[tuple[BaseModel, Place, Opening | None] | None] = SimpleQueue()
        self._turns = threading.Semaphore(transport.parallel_loads)
        self._took_s: dict[str, float] = {}
        self._thread = threading.Thread(target=self._run, name="model loader", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Begin no further build. Those that run end with their hosts."""
        self._orders.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def open(self, base: BaseModel) -> Opening:
        """Start a host and have it check the source, before the model is registered. Raises `Invalid`; a check that
        takes long goes on."""
        opening = self._open(base)
        try:
            opening.opened.result(OPENING_S)
        except TimeoutError:
            pass
        except BaseException:
            opening.host.end(Unavailable("The base model's source was refused."))
            raise
        return opening

    def add(self, base: BaseModel, place: Place, opening: Opening | None = None) -> None:
        """Build it, in turn."""
        place.usual_s = self._took_s.get(base.id)
        self._orders.put((base, place, opening))

    # ---- the loader's threads -----------------------------------------------------------------------------------

    def _run(self) -> None:
        while (order := self._orders.get()) is not None:
            self._turns.acquire()
            threading.Thread(target=self._load, args=order, name=f"loading {order[0].id}", daemon=True).start()

    def _load(self, base: BaseModel, place: Place, opening: Opening | None) -> None:
        turn = _Turn(self._turns)
        begun = time.monotonic()
        try:
            if not self._is_wanted(base, place):
                if opening is not None:
                    opening.host.end(Unavailable("The base model is not wanted any more."))
                return
            outcome = self._build(base, place, opening, turn)
            self._took_s[base.id] = time.monotonic() - place.begun_at
            log.info("model %s was built on %s in %.2f s", base.id, outcome.built.device, time.monotonic() - begun)
        except BaseException as error:  # a factory may raise anything, even SystemExit: it is this model's failure
            outcome = error
        finally:
            turn.give_up()
        self._finish(base, place, outcome)

    def _build(self, base: BaseModel, place: Place, opening: Opening | None, turn: "_Turn") -> HostedModel:
        for deaths in range(1, MOST_DEATHS + 1):
            place.step = "starting"
            opening = opening or self._open(base)
            place.host = opening.host
            if not self._is_wanted(base, place):  # what replaced it may not have seen this host
                reason = Unavailable("The base model is not wanted any more.")
                opening.host.end(reason)
                raise reason
            try:
                self._wait(opening.opened, turn)
                place.step = "building"
                built: Built = self._wait(opening.host.build(), turn)
                return HostedModel(opening.host, built, opening.host.status().result(self._timeout_s))
            except HostLost as error:
                log.warning("the host of model %s died while it was building: %s", base.id, error.detail)
                if deaths == MOST_DEATHS or not self._is_wanted(base, place):
                    message = f"Its host died {deaths} times while it was building: {error.reason}."
                    if "SIGKILL" in error.reason:
                        message += " That is how a system ends what takes its last memory: has it enough for the model?"
                    raise DiedTooOften(message) from error
            opening = None
        raise AssertionError("the loop returns or raises")

    def _wait(self, future: Future[T], turn: "_Turn") -> T:
        # Not `future.result(timeout)`, for a build may itself raise a TimeoutError.
        if not wait([future], min(STALLED_S, self._timeout_s)).done:
            turn.give_up()
            if not wait([future], max(0.0, self._timeout_s - STALLED_S)).done:
                raise RegistryError(
                    f"Its build took longer than {self._timeout_s:g} s (ADAPTER_SERVICE_LOAD_TIMEOUT) and was ended."
                )
        return future.result()

    def _open(self, base: BaseModel) -> Opening:
        host = self._transport.start(base.id)
        return Opening(host, host.open(self._order_of(base)))


class _Turn:
    """One of the builds that may run at a time, given up once."""

    def __init__(self, turns: threading.Semaphore) -> None:
        self._turns = turns
        self._mine = threading.Lock()

    def give_up(self) -> None:
        if self._mine.acquire(blocking=False):
            self._turns.release()
