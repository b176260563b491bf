"""What the service can do, assembled: `models` and `adapters` have their verbs, `infer` joins the two.

Every verb but `infer` is synchronous and may block (database, blob store, a forward that is under way).
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Final, get_args

from models_registry.base_models.sources import SourcePolicy
from models_registry.errors import RegistryError, Unavailable
from models_registry.event_records import Event, EventFilter
from models_registry.records import BaseModel
from models_registry.redaction import redacted
from models_registry.registry import Registry
from service.front.access.caller import current_caller
from service.front.access.names import finds, finds_model, hidden_models
from service.front.admission.admission import Admission
from service.front.admission.team_admission import TeamAdmission
from service.front.admission.version_leases import VersionLeases
from service.front.hosts.host_manager import HostManager
from service.front.hosts.host_monitor import HostMonitor
from service.front.hosts.merge_runner import MergeRunner
from service.front.hosts.resident_use import resident_share
from service.front.hosts.times import DEFAULT_TIMES, HostTimes
from service.front.periodic import Periodic
from service.front.requests import InferAnswer, InferRequest, ModelState, Readiness
from service.front.resolution.registry_poller import RegistryPoller
from service.front.resolution.registry_snapshot import Snapshot, is_there
from service.front.services.adapter_lists import AdapterLists
from service.front.services.adapters import Adapters
from service.front.services.alias_meter import AliasMeter
from service.front.services.aliases import Aliases
from service.front.services.differences import Differences
from service.front.services.inference import Inference
from service.front.services.last_uses import LastUses
from service.front.services.model_names import ModelNames
from service.front.services.models import Models
from service.front.services.observers import Observers
from service.front.services.rollouts import Rollouts
from service.front.services.shadows import Shadows
from service.front.services.streamed_texts import StreamedTexts
from service.protocol.host import ModelHost, Transport
from service.protocol.types import BuildOrder, HostLimits

OK: Final = "ok"
FLUSH_S: Final = 10.0
"""So often what requests note in memory is written."""
SHUTTING_DOWN = "The service is shutting down; ask another instance."


class Engine:
    """Hosts base models and answers with the adapters of the registry. Constructing it starts nothing."""

    def __init__(
        self,
        registry: Registry,
        transport: Transport,
        policy: SourcePolicy,
        limits: HostLimits,
        times: HostTimes = DEFAULT_TIMES,
        redact: Callable[[str], str] = redacted,
        observers: Observers | None = None,
    ) -> None:
        """`redact` takes the secrets out of what a factory says when it fails."""
        observed = observers or Observers()
        self._registry = registry
        self._transport = transport
        self._snapshot = Snapshot(registry)
        self._leases = VersionLeases()
        self.admission: Final = Admission(limits, TeamAdmission(), self._leases)

        def order_of(base: BaseModel) -> BuildOrder:
            return BuildOrder(base, tuple(map(str, policy.model_roots)), policy.factories, limits)

        self._hosts = HostManager(registry, transport, order_of, times, limits.max_resident_bytes is not None, redact)
        self._monitor = HostMonitor(self._ready_hosts, times.forward_s)
        uses = LastUses(registry)
        counted = AliasMeter(registry)
        self._shadows = Shadows(counted, lambda version: is_there(self._snapshot.view, version))
        self.rollouts: Final = Rollouts(uses, counted, self._shadows)
        self._inference = Inference(registry, self._snapshot, self._hosts, self.admission, observed, self.rollouts)
        self.names: Final = ModelNames(self._snapshot, self._hosts)
        self.models: Final = Models(registry, self._snapshot, self._hosts)
        self.differences: Final = Differences(registry, self._snapshot, limits.max_adapter_bytes)
        self._poller = RegistryPoller(self._snapshot, self.models, self._inference)
        merges = MergeRunner(transport)
        self.adapters: Final = Adapters(
            registry, limits, self._snapshot, self._hosts, self.models, self._leases, merges
        )

        self.aliases: Final = Aliases(registry, self._snapshot)
        self.adapter_lists: Final = AdapterLists(registry, self._snapshot, self._hosts, uses)
        self._flusher = Periodic("counts of adapters", FLUSH_S, uses.flush, counted.flush)

    def _ready_hosts(self) -> Mapping[str, ModelHost]:
        places = self._hosts.all_places()
        return {model: place.hosted.host for model, place in places.items() if place.hosted is not None}

    def add_follower(self, follow: Callable[[], None]) -> None:
        """Have `follow` called whenever the registry has changed, whichever process changed it."""
        self._poller.add_follower(follow)

    def set_resident_shares(self, shares: Mapping[str, float]) -> None:
        """From now on the adapters of these teams may take these parts (0 to 1) of each model's memory for adapters."""
        self._hosts.shares.set_teams(shares)

    def start(self) -> None:
        """Begin loading every model whose record says hosted, one after the other, in the background."""
        self._snapshot.refresh()
        view = self._snapshot.view  # not newer than the models that are read now
        self.models.start()
        self._poller.start(view)
        self._monitor.start()
        self._flusher.start()
        self._shadows.start()

    def give_up(self) -> None:
        """Answer `Unavailable` to whatever waits or runs, at once. Never blocks."""
        self._leases.refuse()
        self._hosts.give_up(Unavailable(SHUTTING_DOWN))

    def stop(self, grace_s: float) -> None:
        """Refuse new requests, give those that are queued or run `grace_s` seconds, answer the rest `Unavailable`,
        join every thread that isn't stuck. Must not run on the event loop's own thread: what it waits for is awaited
        there."""
        self._poller.stop()
        self._monitor.stop()
        self._leases.refuse()
        self._leases.wait(grace_s)
        self._shadows.stop()
        self._hosts.stop(Unavailable(SHUTTING_DOWN))
        self._flusher.stop()
        self._transport.close()

    @property
    def is_starting(self) -> bool:
        """Whether a base model that was ready when the service last ran is still loading, and the grace lasts."""
        return bool(self._hosts.awaited())

    def readiness(self) -> Readiness:
        """Never raises: what is away is said in `reasons` and `degraded`."""
        awaited = self._hosts.awaited()
        reasons = [f"The base model {model!r} is still loading." for model in awaited]
        if self._leases.stopping:
            reasons.append("The service is shutting down.")
        later = [model for model in self._hosts.all_in("loading") if model not in awaited]
        degraded = [f"The base model {model!r} is still loading." for model in later]
        degraded += [f"The base model {model!r} failed: {why}" for model, why in self._hosts.all_in("failed").items()]
        restarting = self._hosts.all_in("restarting").items()
        degraded += [f"The base model {model!r} is being started again, after {why}." for model, why in restarting]
        database, blobs = _state_of(self._snapshot.refresh), _state_of(self._registry.ping_blobs)
        reasons += [database] if database != OK else []
        degraded += [blobs] if blobs != OK else []
        parts = {"database": database, "blobs": blobs, "registry generation": str(self.generation)}
        parts |= {f"models {state}": str(len(self._hosts.all_in(state))) for state in get_args(ModelState)}
        return Readiness(not reasons, tuple(reasons), tuple(degraded), parts)

    def events(self, limit: int, after: int, chosen: EventFilter) -> tuple[Event, ...]:
        """At most `limit` of the chosen changes that the caller may know of, in the order in which they were made,
        behind the event `after`."""
        events = self._registry.list_events(limit, after, self._seen_by_caller(chosen))
        self._snapshot.refresh()
        return events

    def newest_events(self, limit: int, before: int | None, chosen: EventFilter) -> tuple[Event, ...]:
        """As `events`, the newest first, those made before the event `before`."""
        return self._registry.newest_events(limit, before, self._seen_by_caller(chosen))

    @property
    def generation(self) -> int:
        """The registry's generation as of the snapshot that requests resolve in; no database read."""
        return self._snapshot.view.generation

    @property
    def reached(self) -> int:
        """The generation up to which memory has followed what any process has changed; no database read. May lag behind
        `generation`, which this process's own changes raise at once."""
        return self._poller.reached

    def catch_up(self) -> None:
        """See every change that any process has made until now; the watcher does it twice a second.

        May block. Raises `Unavailable`.
        """
        self._poller.look()

    async def infer(self, request: InferRequest) -> InferAnswer:
        """Answer with the adapters that the rows name; never blocks the event loop, never reads the database.

        Raises `NotFound` (model, references: all of them at once), `Conflict` (not loaded), `Unavailable` (loading,
        stopping, a blob store that is away), `Invalid` (inputs, outputs, entries), `Overloaded` (`OverLimit` where the
        caller's team asks for too much), `DeadlinePassed`.
        """
        return await self._inference.infer(request)

    def stream(self, request: InferRequest) -> AbstractAsyncContextManager[StreamedTexts]:
        """As `infer`, of texts that are read while they are written. Entered, it waits for the first part, and raises
        as `infer` does where there is none; left, it cancels what is still written. After the first part nothing is
        tried again, so that the loss of the model's host is `HostLost`."""
        return self._inference.stream(request)

    def resident_share(self, team: str) -> float:
        """What the team's adapters take now of one model's memory for adapters, where that is the most."""
        return resident_share(self._hosts.all_hosted(), team)

    def finds(self, kept: str) -> bool:
        """Whether the caller may see the adapter that the registry calls so. From memory."""
        return finds(self._snapshot.view, kept)

    def finds_model(self, model: str) -> bool:
        """Whether the caller may know of the base model, if there is one. From memory."""
        return finds_model(self._snapshot.view, model)

    def _seen_by_caller(self, chosen: EventFilter) -> EventFilter:
        caller = current_caller()
        return replace(
            chosen,
            seen_by=None if caller.may("admin") else caller.team,
            models=None if caller.models is None else tuple(caller.models),
            hidden_models=hidden_models(self._snapshot.view),
        )


def _state_of(look: Callable[[], object]) -> str:
    try:
        look()
    except RegistryError as error:
        return error.detail
    return OK
