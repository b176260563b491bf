"""A base model's host as the front knows it: the verbs, with what may be in its memory remembered."""

import time
from collections.abc import Collection, Iterable
from concurrent.futures import Future, wait
from contextlib import suppress
from itertools import count
from uuid import uuid4

from models_registry.adapters.cancellation import Stopped, require_wanted
from models_registry.errors import Cancelled, RegistryError
from models_registry.records import AdapterVersion
from service.protocol.host import ModelHost
from service.protocol.replicas import PinWish
from service.protocol.texts import OnPart
from service.protocol.types import (
    Built,
    FreshWeights,
    HostAnswer,
    HostLoss,
    HostStatus,
    InferCall,
    ModelProfile,
    Selection,
    Tensors,
    distinct_versions,
)

LOOKING_S = 0.1
"""How often a long call looks whether its caller still waits."""
STATUS_S = 1.0
"""A host that doesn't answer for so long is reported as it was before."""
UNLOADING_S = 5.0
"""A host that takes longer to unload, which is no more than a look, is stuck in a forward."""


class HostedModel:
    def __init__(self, host: ModelHost, built: Built, status: HostStatus) -> None:
        self.host = host
        self.life = uuid4().hex
        """Distinguishes it from later hosts of the model."""
        self.built = built
        self.expired = 0
        """Requests whose deadline passed."""
        self._known: dict[str, AdapterVersion] = {}
        self._status = status
        self._ids = count()
        self._running: dict[int, tuple[AdapterVersion, ...]] = {}
        self._pinned: dict[str, PinWish] = {}
        self._suspected: set[int] = set()

    @property
    def known(self) -> tuple[AdapterVersion, ...]:
        """Versions that may be in its memory, or on their way into it."""
        return tuple(self._known.values())

    @property
    def in_flight(self) -> int:
        """The requests that it was given and hasn't answered."""
        return len(self._running)

    def infer(
        self, call: InferCall, selections: tuple[Selection, ...], on_part: OnPart | None = None
    ) -> tuple[int, Future[HostAnswer]]:
        """The request's id, for `host.cancel`, and its answer."""
        versions = distinct_versions(selections)
        self._remember(versions)
        id = next(self._ids)
        if call.alone:
            self._suspected.add(id)
        future = self.host.infer(id, call, selections, on_part)
        self._running[id] = versions
        future.add_done_callback(lambda _: self._note_end(id))
        return id, future

    def died_of_suspects(self, loss: HostLoss) -> bool:
        """Whether what ran when its host ended were requests under which another one had ended before."""
        return bool(loss.running) and self._suspected.issuperset(loss.running)

    def initial_weights(self, fresh: FreshWeights, stopped: Stopped) -> Tensors:
        """A new adapter's tensors. Raises as the verb does, and `Cancelled` once `stopped` says that nobody waits."""
        id = next(self._ids)
        drawn = self.host.initial_weights(id, fresh)
        while not wait([drawn], LOOKING_S).done:
            try:
                require_wanted(stopped)
            except Cancelled:
                self.host.cancel(id)
                raise
        return drawn.result()

    def attach(self, version: AdapterVersion) -> None:
        """Raises as the verb does."""
        self._remember([version])
        self.host.attach(version).result()

    def load(self, version: AdapterVersion, pin: bool, replicas: int | None = None) -> None:
        """Raises as the verb does."""
        self._remember([version])
        self.host.load(version, pin, replicas).result()
        if pin:
            self._pinned[version.key] = PinWish(version, replicas)

    def begin_to_load(self, version: AdapterVersion, pin: bool, replicas: int | None = None) -> Future[None]:
        """As `load`, without waiting. With `pin` the version counts as pinned even if this load fails."""
        self._remember([version])
        if pin:
            self._pinned[version.key] = PinWish(version, replicas)
        return self.host.load(version, pin, replicas)

    def unload(self, versions: Iterable[AdapterVersion]) -> bool:
        """Whether they take no memory any more."""
        keys = [version.key for version in versions]
        for key in keys:
            self._pinned.pop(key, None)
        try:
            return self.host.unload(keys).result(UNLOADING_S)
        except TimeoutError:
            return False
        except RegistryError:  # it has ended, and its memory is free
            return True

    def forget(self, versions: Collection[AdapterVersion]) -> None:
        """They were removed from the registry."""
        keys = [version.key for version in versions]
        if keys:
            self.host.forget(keys)
        for key in keys:
            self._known.pop(key, None)
            self._pinned.pop(key, None)

    def remove(self, versions: Collection[AdapterVersion], patience_s: float = 0.0) -> None:
        """As `forget`, and returns when their memory is free. Requests that use them are waited for so long, a second
        at least: also those of other fronts on the same replicas, of which this front has no lease."""
        self.forget(versions)
        until = time.monotonic() + patience_s
        while not self.unload(versions) and time.monotonic() < until:
            time.sleep(LOOKING_S)

    def in_use(self) -> tuple[tuple[AdapterVersion, ...], tuple[PinWish, ...]]:
        """Versions that requests use at this moment, and those that this front has pinned."""
        used = {version.key: version for versions in self._running.copy().values() for version in versions}
        return tuple(used.values()), tuple(self._pinned.copy().values())

    def status(self, versions: Iterable[AdapterVersion] = ()) -> HostStatus:
        """As it is now; as it was last where the host doesn't say."""
        with suppress(TimeoutError, RegistryError):
            self._status = self.host.status([version.key for version in versions]).result(STATUS_S)
        return self._status

    def profile(self) -> ModelProfile:
        """What small forwards have shown of the model, once those have run that follow its build; nothing where the
        host has ended."""
        try:
            return self.host.profile().result()
        except RegistryError:
            return ModelProfile()

    def _note_end(self, id: int) -> None:
        self._running.pop(id, None)
        self._suspected.discard(id)

    def _remember(self, versions: Iterable[AdapterVersion]) -> None:
        self._known |= {version.key: version for version in versions}
