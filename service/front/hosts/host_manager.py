"""Which base models are in memory: loading -> ready or failed, restarting after a host's death, unloaded."""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final

from models_registry.errors import Conflict, Invalid, NotFound, RegistryError, Unavailable
from models_registry.records import BaseModel, Fault
from models_registry.registry import Registry
from service.front.hosts.hosted_model import HostedModel
from service.front.hosts.memory_shares import MemoryShares
from service.front.hosts.model_loader import DiedTooOften, ModelLoader, Opening
from service.front.hosts.place import UNKNOWN, Place
from service.front.hosts.returning import Returning, bring_back
from service.front.hosts.times import HostTimes
from service.front.requests import ModelState
from service.protocol.errors import HostLost
from service.protocol.host import ModelHost, Transport
from service.protocol.types import BuildOrder, HostLoss

log = logging.getLogger(__name__)

DEATHS_S, MOST_DEATHS = 600.0, 5
"""A model whose host dies so often within this time, under different requests, has failed."""
# What is stuck in a look at the database can't be stopped; it is waited for this long beyond the grace.
JOIN_S = 1.0


class HostManager:
    """Constructing it starts nothing."""

    def __init__(
        self,
        registry: Registry,
        transport: Transport,
        order_of: Callable[[BaseModel], BuildOrder],
        times: HostTimes,
        is_limited: bool,
        redact: Callable[[str], str],
    ) -> None:
        """`is_limited` as in `MemoryShares`. `redact` takes the secrets out of what a factory says when it fails."""
        self.shares: Final = MemoryShares(self._hosted_by_name, is_limited)
        self._registry = registry
        self._redact = redact
        self._times = times
        self._table = threading.Lock()
        self._places: dict[str, Place] = {}
        self._loader = ModelLoader(transport, order_of, times.load_s, self._is_wanted, self._finish)
        self._closing: dict[ModelHost, str] = {}
        self._ready_by = 0.0

    def start(self, bases: Iterable[BaseModel]) -> None:
        """Know these models and begin loading those that are to be hosted. `awaited` says which of them were ready when
        the service last ran."""
        known = tuple(bases)
        self._ready_by = time.monotonic() + self._times.ready_s
        self._loader.start()
        self.follow(known)
        with self._table:
            for base in known:
                self._places[base.id].is_awaited = base.fingerprint is not None and base.failure is None

    def follow(self, bases: Iterable[BaseModel]) -> None:
        """Load, unload and forget models, so that memory has what these records of all models say, whichever process
        changed them. Unloading goes on in threads, because it waits for running requests."""
        failed = self.all_in("failed")  # before the records are read, which say why by then
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
            elif base.hosted and (
                place.state == "unloaded" or (base.id in failed and _was_built_elsewhere(base, place))
            ):
                self.load(base)

    def give_up(self, reason: RegistryError) -> None:
        """Answer `reason` to whatever waits or runs."""
        for host in self._in_memory():
            host.give_up(reason)

    def stop(self, reason: RegistryError) -> None:
        """Answer `reason` to whatever still waits or runs, and end every host and every thread."""
        in_memory = self._in_memory()
        with self._table:
            self._places = {}
        for host, name in in_memory.items():
            if not host.end(reason):
                log.warning("model %s is stuck in a forward and left behind", name)
        self._loader.stop(JOIN_S)

    def open(self, base: BaseModel) -> Opening:
        """As `ModelLoader.open`."""
        return self._loader.open(base)

    def load(self, base: BaseModel, opening: Opening | None = None) -> None:
        """Begin loading, unless it is ready or loading."""
        with self._table:
            if self._places.get(base.id, UNKNOWN).state in {"ready", "loading", "restarting"}:
                return
            self._places[base.id] = place = Place("loading", base.created_at)
        self._loader.add(base, place, opening)

    def unload(self, base: BaseModel) -> Callable[[], None]:
        """No new requests from now on; what is returned waits for those that are queued and gives the memory back. A
        build that is under way is ended."""
        with self._table:
            place = self._end_place(base.id)
            self._places[base.id] = Place("unloaded", base.created_at)
        return partial(self._close, base.id, place, _unloaded(base.id))

    def forget(self, model: str) -> Callable[[], None]:
        """As `unload`, and the model is unknown from then on."""
        with self._table:
            place = self._end_place(model)
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
        if place.state == "restarting":
            raise HostLost(model, place.reason or "it died")
        if place.state == "failed":
            raise Conflict(f"The base model {model!r} could not be loaded: {place.reason}")
        raise Conflict(f"The base model {model!r} is not in memory; load it first.")

    def registered(self) -> dict[str, datetime]:
        """Every base model, in memory or not, and when it was registered."""
        with self._table:
            return {name: place.registered_at for name, place in self._places.items() if place.registered_at}

    def knows(self, model: str) -> bool:
        return (place := self._places.get(model)) is not None and place.registered_at is not None

    def hosted(self, model: str) -> HostedModel | None:
        return self.place(model).hosted

    def place(self, model: str) -> Place:
        """As it is at this moment."""
        with self._table:
            return replace(self._places.get(model, UNKNOWN))

    def all_hosted(self) -> tuple[HostedModel, ...]:
        return tuple(self._hosted_by_name().values())

    def all_places(self) -> dict[str, Place]:
        """As they are at this moment."""
        with self._table:
            return {model: replace(place) for model, place in self._places.items()}

    def all_in(self, state: ModelState) -> dict[str, str | None]:
        """Models in that state, with the reason."""
        with self._table:
            return {name: place.reason for name, place in self._places.items() if place.state == state}

    def awaited(self) -> tuple[str, ...]:
        """Models that were ready when the service last ran and have been loading since its start; none any more after
        the grace."""
        if time.monotonic() >= self._ready_by:
            return ()
        with self._table:
            return tuple(name for name, place in self._places.items() if place.is_awaited and place.state == "loading")

    def require_room(self, model: str) -> None:
        """Raises `NoRoom` where one more model would leave others' pinned adapters without room."""
        if self.place(model).state not in {"ready", "loading", "restarting"}:
            self.shares.require_room_beside(model)

    # ---- what becomes of a build --------------------------------------------------------------------------------

    def _is_wanted(self, base: BaseModel, place: Place) -> bool:
        return self._places.get(base.id) is place

    def _finish(self, base: BaseModel, place: Place, outcome: HostedModel | BaseException) -> None:
        if isinstance(outcome, HostedModel):
            try:
                self._registry.record_built(base.id, outcome.built.architecture, place.registered_at)
            except RegistryError as error:
                if isinstance(error, Unavailable) and place.deaths:  # it is on record as built since before it died
                    log.warning("that model %s was built again is not recorded: %s", base.id, error)
                else:
                    outcome.host.end(error)
                    outcome = error
        if isinstance(outcome, HostedModel):
            self.shares.give_teams(outcome.host)
            bring_back(outcome, place.returning)
            self._set_ready(base, place, outcome)
        else:
            self._fail(base.id, place, outcome)

    def _set_ready(self, base: BaseModel, place: Place, hosted: HostedModel) -> None:
        with self._table:
            if wanted := self._places.get(base.id) is place:
                place.state, place.hosted, place.reason = "ready", hosted, None
        if wanted:
            self.shares.share_out()
            hosted.host.lost.add_done_callback(lambda lost: self._restart(base, place, hosted, lost.result()))
        else:
            hosted.host.close(_unloaded(base.id))

    def _restart(self, base: BaseModel, place: Place, hosted: HostedModel, loss: HostLoss) -> None:
        """Its host has died. At once again, with the adapters that were in use, unless it dies too often. What ended it
        again is refused from now on, so that such a death doesn't count."""
        now = time.monotonic()
        deaths = tuple(death for death in place.deaths if now - death < DEATHS_S)
        if counts := loss.is_death and not hosted.died_of_suspects(loss):
            deaths = (*deaths, now)
        with self._table:
            if self._places.get(base.id) is not place:
                return
            again = Place(
                "restarting", base.created_at, loss.reason, deaths=deaths, returning=Returning(*hosted.in_use())
            )
            again.restarts, again.last_death = place.restarts + 1, loss.reason
            self._places[base.id] = again
        log.error("the host of model %s ended (%s)", base.id, loss.reason)
        if counts and len(deaths) >= MOST_DEATHS:
            message = f"Its host died {len(deaths)} times within {DEATHS_S / 60:g} minutes, at last of {loss.reason}."
            # Beside this thread, which its callers wait for.
            failing = (base.id, again, DiedTooOften(message))
            threading.Thread(target=self._fail, args=failing, name=f"failing {base.id}", daemon=True).start()
        else:
            self._loader.add(base, again)

    def _fail(self, model: str, place: Place, error: BaseException) -> None:
        if self._places.get(model) is not place:  # it was unloaded or removed meanwhile
            return
        if isinstance(error, RegistryError):
            log.warning("model %s failed: %s", model, error)
        else:
            log.error("model %s failed", model, exc_info=error)
            error = RegistryError(f"{type(error).__name__}: {error}")
        if place.host is not None:
            place.host.end(error)
        shown = _fit_to_show(error, self._redact)
        reason = str(shown)
        try:
            self._registry.record_failure(model, reason, place.registered_at)
        except RegistryError as trouble:  # removed meanwhile, or the database is away: the memory still says why
            log.warning("the failure of model %s was not recorded: %s", model, trouble)
        with self._table:
            place.state, place.reason, place.error, place.host = "failed", reason, shown, None
            place.kept_failed = isinstance(error, DiedTooOften)

    # ---- inside -------------------------------------------------------------------------------------------------

    def _hosted_by_name(self) -> dict[str, HostedModel]:
        with self._table:
            hosted_or_not = {name: place.hosted for name, place in self._places.items()}
        return {name: hosted for name, hosted in hosted_or_not.items() if hosted is not None}

    def _in_memory(self) -> dict[ModelHost, str]:
        with self._table:
            return {place.host: name for name, place in self._places.items() if place.host} | self._closing

    def _end_place(self, model: str) -> Place:
        """From now on the host in memory there counts as closing, so that the end of the service waits for it."""
        place = self._places.get(model, UNKNOWN)
        if place.host is not None:
            self._closing[place.host] = model
        return place

    def _close(self, model: str, place: Place, reason: RegistryError) -> None:
        host, is_built = place.host, place.hosted is not None
        place.host = place.hosted = None
        if host is None:
            return
        try:
            if is_built:
                host.close(reason).result(self._times.closing_s)
            else:
                host.end(reason)
        except TimeoutError:
            host.end(reason)
        finally:
            with self._table:
                self._closing.pop(host, None)
        self.shares.share_out()
        log.info("model %s unloaded", model)


def _unloaded(model: str) -> Conflict:
    return Conflict(f"The base model {model!r} was unloaded; load it first.")


def _fit_to_show(error: RegistryError, redact: Callable[[str], str]) -> Invalid:
    """A factory's words may hold secrets, and what JSON, or a database's text, does not take."""

    def fit(words: str) -> str:
        return redact(words.encode(errors="backslashreplace").decode().replace("\0", "\\0"))

    faults = error.further_faults if isinstance(error, Invalid) else ()
    return Invalid(fit(error.detail), [Fault(fault.loc, fit(fault.message)) for fault in faults])


def _beside(model: str, close: Callable[[], None]) -> None:
    # In a thread, because its requests may run for long and the registry poller must go on.
    threading.Thread(target=close, name=f"closing {model}", daemon=True).start()


def _was_built_elsewhere(base: BaseModel, place: Place) -> bool:
    """Since it failed here, so that it may work here too now. The failure is on record until a process has built it.
    Hosts that died too often here say nothing about other processes, nor the other way round."""
    return place.state == "failed" and base.failure is None and not place.kept_failed
