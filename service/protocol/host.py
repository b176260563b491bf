"""What a front may ask of a host: one base model, whichever process it lives in.

The host needs blobs and never the database. It describes, the front records.
"""

from collections.abc import Collection, Mapping
from concurrent.futures import Future
from typing import Protocol

from models_registry.errors import RegistryError
from models_registry.records import AdapterVersion
from service.protocol.stats import ProcessStats
from service.protocol.texts import OnPart
from service.protocol.types import (
    BuildOrder,
    Built,
    FreshWeights,
    HostAnswer,
    HostLoss,
    HostStatus,
    InferCall,
    Merged,
    MergeOrder,
    ModelProfile,
    Selection,
    Tensors,
    Work,
)


class ModelHost(Protocol):
    """Verbs may be called by any thread and return at once. A future fails with an error of `models_registry.errors`,
    with `RuntimeError` for what nobody foresaw, and with `HostLost` once the host has ended."""

    @property
    def lost(self) -> Future[HostLoss]:
        """Done once the host has ended without having been asked to."""
        ...

    @property
    def process(self) -> ProcessStats | None:
        """The process that it has for itself, at this moment."""
        ...

    @property
    def work(self) -> Work | None:
        """What the model's thread is at; None where it waits."""
        ...

    def open(self, order: BuildOrder) -> Future[None]:
        """Check the source and import what builds it. Raises `Invalid`. Call it before `build`."""
        ...

    def build(self) -> Future[Built]:
        """Build the module and start its worker. Raises `Invalid`, and whatever a factory raises."""
        ...

    def profile(self) -> Future[ModelProfile]:
        """What small forwards have shown of the model, once those have run that follow its build."""
        ...

    def infer(
        self, id: int, call: InferCall, selections: tuple[Selection, ...], on_part: OnPart | None = None
    ) -> Future[HostAnswer]:
        """Answer a request, whose `id` no other one has. `on_part` hears its texts while they are written.

        Raises `Invalid` (inputs, outputs, entries), `Overloaded`, `DeadlinePassed`, `Unavailable`, `NoRoom`, `Damaged`,
        or why the model was closed.
        """
        ...

    def cancel(self, id: int) -> None:
        """The caller no longer waits: drop the request from the queue, end its texts at their next step, and initial
        weights at their next target."""
        ...

    def prepare(self, version: AdapterVersion) -> Future[None]:
        """Read a version's blob, check it and make its tensors ready, before the version is committed. Raises as a
        load does; then nothing is kept."""
        ...

    def attach(self, version: AdapterVersion) -> Future[None]:
        """Make a prepared version resident. Raises `NoRoom` where only what others use could make room, `Unavailable`
        where the model is busy for long."""
        ...

    def load(self, version: AdapterVersion, pin: bool, replicas: int | None = None) -> Future[None]:
        """Make a stored version resident, and keep it so where `pin`. Raises as staging does, and `NoRoom` where it
        doesn't fit beside what is pinned. Where several processes run the model: on so many `replicas`, None: on all.
        """
        ...

    def unload(self, keys: Collection[str]) -> Future[bool]:
        """Take versions out of memory, pinned or not; those in use are evicted with the last request that uses them.
        Whether their memory was free within a second."""
        ...

    def forget(self, keys: Collection[str]) -> None:
        """These versions were removed: they are evicted with the last request that uses them, and no later call can
        load them again."""
        ...

    def initial_weights(self, id: int, fresh: FreshWeights) -> Future[Tensors]:
        """A new adapter's tensors, which may start from the base model's. Raises `Invalid`, `Conflict`, and `Cancelled`
        after `cancel(id)`."""
        ...

    def merge(self, id: int, order: MergeOrder) -> Future[Merged]:
        """Stored versions as one. A host that has opened nothing does it, so that it can be ended without harm. Raises
        `Invalid`, `Damaged`, and `Cancelled` after `cancel(id)`."""
        ...

    def status(self, keys: Collection[str] = ()) -> Future[HostStatus]:
        """What is in memory and its stats, at this moment."""
        ...

    def share(self, models: int) -> None:
        """So many base models share the machine: byte limits that the operator didn't set are divided by them."""
        ...

    def share_resident(self, shares: Mapping[str, float]) -> None:
        """From now on the adapters of these teams may take these parts (0 to 1) of what the model's adapters may take
        in memory; those of others as much as there is. More of theirs is evicted."""
        ...

    def give_up(self, reason: RegistryError) -> None:
        """Answer `reason` to whatever waits or runs, at once."""
        ...

    def close(self, reason: RegistryError) -> Future[None]:
        """Take no more requests, answering `reason`; done when those that are queued have their answers and the host
        has ended."""
        ...

    def kill(self, reason: str) -> None:
        """End the host as one that is lost, because of this. Where it shares its front's process, its callers are
        answered and its thread is left behind."""
        ...

    def end(self, reason: RegistryError) -> bool:
        """End the host now, answering `reason` to whatever waits or runs. Whether it has ended: a thread can't be made
        to."""
        ...


class Transport(Protocol):
    """Starts hosts, and carries what is said to them."""

    @property
    def parallel_loads(self) -> int:
        """So many base models may be built at the same time."""
        ...

    def start(self, name: str) -> ModelHost:
        """A host for the base model `name`. Returns at once, or within a second."""
        ...

    def close(self) -> None:
        """End whatever starts hosts; the hosts have ended by then."""
        ...
