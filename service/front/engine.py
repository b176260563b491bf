"""What the service can do, assembled: `models` and `adapters` have their verbs, `infer` joins the two.

Every verb but `infer` is synchronous and may block (database, blob store, a forward that is under way).
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from models_registry.base_models.sources import SourcePolicy
from models_registry.errors import RegistryError, Unavailable
from models_registry.records import Event
from models_registry.redaction import redacted
from models_registry.registry import Registry
from service.front.hosts.host_manager import HostManager
from service.front.requests import EngineLimits, InferAnswer, InferRequest, Readiness
from service.front.resolution.registry_poller import RegistryPoller
from service.front.resolution.registry_snapshot import Snapshot
from service.front.services.adapters import Adapters
from service.front.services.inference import Inference
from service.front.services.models import Models

# Staging waits for the blob store and may not hold up reading, which only needs the processor. Nor may blobs that come
# slowly hold up others: there are more than enough threads to wait in.
READERS = min(4, os.cpu_count() or 1)
STAGERS = 64

SHUTTING_DOWN = "The service is shutting down; ask another instance."


class Engine:
    """Hosts base models and answers with the adapters of the registry. Constructing it starts nothing."""

    def __init__(
        self,
        registry: Registry,
        policy: SourcePolicy,
        limits: EngineLimits,
        redact: Callable[[str], str] = redacted,
    ) -> None:
        """`redact` takes the secrets out of what a factory says when it fails."""
        self._registry = registry
        self._readers = ThreadPoolExecutor(READERS, "reader")
        self._stagers = ThreadPoolExecutor(STAGERS, "stager")
        self._snapshot = Snapshot(registry)
        self._hosting = HostManager(registry, policy, limits, self._stagers, redact)
        self._inference = Inference(self._snapshot, self._hosting, self._readers, limits)
        self.models: Final = Models(registry, policy, limits, self._snapshot, self._hosting)
        self._watcher = RegistryPoller(self._snapshot, self.models, self._inference)
        self.adapters: Final = Adapters(registry, limits, self._snapshot, self._hosting, self.models, self._inference)

    def start(self) -> None:
        """Begin loading every model whose record says hosted, one after the other, in the background."""
        self._snapshot.refresh()
        view = self._snapshot.view  # not newer than the models that are read now
        self.models.start()
        self._watcher.start(view)

    def give_up(self) -> None:
        """Answer `Unavailable` to whatever waits or runs, at once. Never blocks."""
        self._inference.refuse()
        self._hosting.give_up(Unavailable(SHUTTING_DOWN))

    def stop(self, grace_s: float) -> None:
        """Refuse new requests, give those that are queued or run `grace_s` seconds, answer the rest `Unavailable`,
        join every thread that isn't stuck. Must not run on the event loop's own thread: what it waits for is awaited
        there."""
        self._watcher.stop()
        self._inference.refuse()
        self._inference.wait(grace_s)
        self._hosting.stop(Unavailable(SHUTTING_DOWN))
        self._readers.shutdown()
        # A blob that comes slowly is waited for by nobody any more.
        self._stagers.shutdown(wait=False, cancel_futures=True)

    def readiness(self) -> Readiness:
        """Never raises: what is away is said in `reasons` and `degraded`."""
        reasons = [f"The base model {model!r} is still loading." for model in self._hosting.all_in("loading")]
        if self._inference.stopping:
            reasons.append("The service is shutting down.")
        degraded = [f"The base model {model!r} failed: {why}" for model, why in self._hosting.all_in("failed").items()]
        try:
            self._snapshot.refresh()
        except RegistryError as error:
            reasons.append(error.detail)
        try:
            self._registry.ping_blobs()
        except RegistryError as error:
            degraded.append(error.detail)
        return Readiness(not reasons, tuple(reasons), tuple(degraded))

    def events(self, limit: int, after: int) -> tuple[Event, ...]:
        """At most `limit` changes, in the order in which they were made, behind the event `after`."""
        events = self._registry.list_events(limit, after)
        self._snapshot.refresh()
        return events

    @property
    def generation(self) -> int:
        """The registry's generation as of the snapshot that requests resolve in; no database read."""
        return self._snapshot.view.generation

    @property
    def reached(self) -> int:
        """The generation up to which memory has followed what any process has changed; no database read. May lag behind
        `generation`, which this process's own changes raise at once."""
        return self._watcher.reached

    def catch_up(self) -> None:
        """See every change that any process has made until now; the watcher does it twice a second.

        May block. Raises `Unavailable`.
        """
        self._watcher.look()

    async def infer(self, request: InferRequest) -> InferAnswer:
        """Answer with the adapters that the rows name; never blocks the event loop, never reads the database.

        Raises `NotFound` (model, references: all of them at once), `Conflict` (not loaded), `Unavailable` (loading,
        stopping, a blob store that is away), `Invalid` (inputs, outputs, entries), `Overloaded`, `DeadlinePassed`.
        """
        return await self._inference.infer(request)
