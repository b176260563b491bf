"""Which base models are in memory: loading -> ready or failed, unloaded. One thread builds them, one by one."""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from queue import SimpleQueue

from models_registry.base_models.sources import SourcePolicy
from models_registry.errors import Conflict, Invalid, NotFound, RegistryError, Unavailable
from models_registry.records import BaseModel, Fault
from models_registry.registry import Registry
from service.front.requests import EngineLimits, ModelState
from service.host.device import give_memory_back
from service.host.model_host import HostedModel, host

log = logging.getLogger(__name__)

# What is stuck in a forward or a build can't be stopped; it is waited for this long beyond the grace.
JOIN_S = 1.0


@dataclass(slots=True, eq=False)
class Place:
    """One attempt at hosting a model. Whoever no longer finds its own place in the table has been overtaken.

    `registered_at` tells a model from one that came later under the same id. `reason` is `error` as text that can be
    stored.
    """

    state: ModelState
    registered_at: datetime | None = None
    reason: str | None = None
    error: Invalid | None = None
    hosted: HostedModel | None = None


UNKNOWN = Place("unloaded")


class HostManager:
    def __init__(
        self,
        registry: Registry,
        policy: SourcePolicy,
        limits: EngineLimits,
        stagers: Executor,
        redact: Callable[[str], str],
    ) -> None:
        self._registry = registry
        self._redact = redact
        self._policy = policy
        self._limits = limits
        self._stagers = stagers
        self._table = threading.Lock()
        self._places: dict[str, Place] = {}
        self._orders: SimpleQueue[tuple[BaseModel, Place] | None] = SimpleQueue()
        self._loader = threading.Thread(target=self._run, name="model loader", daemon=True)
        self._closing: dict[HostedModel, str] = {}

    def start(self, bases: Iterable[BaseModel]) -> None:
        """Know these models and begin loading those that are to be hosted."""
        self._loader.start()
        self.follow(bases)

    def follow(self, bases: Iterable[BaseModel]) -> None:
        """Bring memory to these models, all that there are: load, unload and forget what other processes had loaded,
        unloaded and removed. What has to leave memory does so beside this, as its requests get their answers."""
        known = {base.id: base for base in bases}
        with self._table:
            places = dict(self._places)
        for model, place in places.items():
            if model not in known or known[model].created_at != place.registered_at:
                _beside(model, self.forget(model))
        for base in known.values():
            place = self.place(base.id)
            if not base.hosted and (place.registered_at is None or place.state != "unloaded"):
                _beside(base.id, self.unload(base))
            elif base.hosted and (place.state == "unloaded" or _was_built_elsewhere(base, place)):
                self.load(base)

    def give_up(self, reason: RegistryError) -> None:
        """Answer `reason` to whatever waits or runs."""
        with self._table:
            in_memory = [*(place.hosted for place in self._places.values() if place.hosted), *self._closing]
        for hosted in in_memory:
            hosted.worker.give_up(reason)

    def stop(self, reason: RegistryError) -> None:
        """Answer `reason` to whatever still waits or runs, and end every thread."""
        with self._table:
            places, self._places = self._places, {}
            in_memory = {place.hosted: name for name, place in places.items() if place.hosted} | self._closing
        self._orders.put(None)
        for hosted, name in in_memory.items():
            hosted.batcher.close(reason)
            hosted.worker.give_up(reason)
            if not hosted.worker.join(JOIN_S):
                log.warning("model %s is stuck in a forward and left behind", name)
        if self._loader.is_alive():
            self._loader.join(JOIN_S)

    def load(self, base: BaseModel) -> None:
        """Begin loading, unless it is ready or loading."""
        with self._table:
            if self._places.get(base.id, UNKNOWN).state in {"ready", "loading"}:
                return
            self._places[base.id] = place = Place("loading", base.created_at)
        self._orders.put((base, place))

    def unload(self, base: BaseModel) -> Callable[[], None]:
        """No new requests from now on; what is returned waits for those that are queued and gives the memory back. A
        build that is under way is dropped when it ends."""
        with self._table:
            place = self._leaving(base.id)
            self._places[base.id] = Place("unloaded", base.created_at)
        reason = Conflict(f"The base model {base.id!r} was unloaded; load it first.")
        return partial(self._close, base.id, place, reason)

    def forget(self, model: str) -> Callable[[], None]:
        """As `unload`, and the model is unknown from then on."""
        with self._table:
            place = self._leaving(model)
            self._places.pop(model, None)
        return partial(self._close, model, place, NotFound(f"There is no base model {model!r}."))

    def find(self, model: str) -> HostedModel:
        """Raises `NotFound`, `Unavailable` while it loads, `Conflict` where it failed or is unloaded."""
        place = self._places.get(model)
        if place is None:
            raise NotFound(f"There is no base model {model!r}.")
        if (hosted := place.hosted) is not None:  # read once, for another thread may be closing it
            return hosted
        if place.state == "loading":
            raise Unavailable(f"The base model {model!r} is still loading; try again when it is ready.")
        if place.state == "failed":
            raise Conflict(f"The base model {model!r} could not be loaded: {place.reason}")
        raise Conflict(f"The base model {model!r} is not in memory; load it first.")

    def hosted(self, model: str) -> HostedModel | None:
        return self.place(model).hosted

    def place(self, model: str) -> Place:
        """As it is at this moment."""
        with self._table:
            return replace(self._places.get(model, UNKNOWN))

    def all_hosted(self) -> tuple[HostedModel, ...]:
        with self._table:
            hosted_or_not = [place.hosted for place in self._places.values()]
        return tuple(hosted for hosted in hosted_or_not if hosted is not None)

    def all_places(self) -> dict[str, Place]:
        """As they are at this moment."""
        with self._table:
            return {model: replace(place) for model, place in self._places.items()}

    def all_in(self, state: ModelState) -> dict[str, str | None]:
        """Models in that state, with the reason."""
        with self._table:
            return {name: place.reason for name, place in self._places.items() if place.state == state}

    # ---- the loader's thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        while (order := self._orders.get()) is not None:
            base, place = order
            if self._places.get(base.id) is place:
                self._load(base, place)

    def _load(self, base: BaseModel, place: Place) -> None:
        begun = time.monotonic()
        try:
            hosted = host(base, self._registry, self._policy, self._limits, self._stagers)
        except RegistryError as error:
            log.warning("model %s failed: %s", base.id, error)
            self._fail(base.id, place, error.with_traceback(None))
        except BaseException as error:  # a factory may raise anything, even SystemExit: it is this model's failure
            log.exception("model %s failed", base.id)
            self._fail(base.id, place, RegistryError(f"{type(error).__name__}: {error}"))
        else:
            log.info("model %s ready on %s after %.2f s", base.id, hosted.device, time.monotonic() - begun)
            self._settle(base.id, place, hosted)

    def _settle(self, model: str, place: Place, hosted: HostedModel) -> None:
        with self._table:
            if wanted := self._places.get(model) is place:
                place.state, place.hosted = "ready", hosted
        if not wanted:
            hosted.close(Conflict(f"The base model {model!r} was unloaded; load it first."))

    def _fail(self, model: str, place: Place, error: RegistryError) -> None:
        error = _fit_to_show(error, self._redact)
        reason = str(error)
        if self._places.get(model) is place:
            try:
                self._registry.record_failure(model, reason, place.registered_at)
            except RegistryError as trouble:  # removed meanwhile, or the database is away: the memory still says why
                log.warning("the failure of model %s was not recorded: %s", model, trouble)
        with self._table:
            place.state, place.reason, place.error = "failed", reason, error
        give_memory_back()

    def _leaving(self, model: str) -> Place:
        """What is in memory there counts as closing from now on, for whoever ends all."""
        place = self._places.get(model, UNKNOWN)
        if place.hosted is not None:
            self._closing[place.hosted] = model
        return place

    def _close(self, model: str, place: Place, reason: RegistryError) -> None:
        hosted, place.hosted = place.hosted, None
        if hosted is None:
            return
        hosted.close(reason)
        with self._table:
            del self._closing[hosted]
        del hosted
        give_memory_back()
        log.info("model %s unloaded", model)


def _fit_to_show(error: RegistryError, redact: Callable[[str], str]) -> Invalid:
    """A factory's words may hold secrets, and what JSON, or a database's text, does not take."""

    def fit(words: str) -> str:
        return redact(words.encode(errors="backslashreplace").decode().replace("\0", "\\0"))

    faults = error.further_faults if isinstance(error, Invalid) else ()
    return Invalid(fit(error.detail), [Fault(fault.loc, fit(fault.message)) for fault in faults])


def _beside(model: str, close: Callable[[], None]) -> None:
    # Its requests may run for long, and whoever follows the registry has more to do.
    threading.Thread(target=close, name=f"closing {model}", daemon=True).start()


def _was_built_elsewhere(base: BaseModel, place: Place) -> bool:
    """Since it failed here, so that it may work here too now. The failure is on record until somebody has built it."""
    return place.state == "failed" and base.failure is None
