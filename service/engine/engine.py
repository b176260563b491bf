"""The verbs of the service, a few lines each: they join what the registry knows with what is in memory now.

Every verb but `infer` is synchronous and may block (database, blob store, a forward that is under way).
"""

from collections.abc import Mapping
from typing import Any

from models_registry.base_models.sources import SourcePolicy
from models_registry.records import AdapterVersion, Architecture, Source
from models_registry.registry import Registry
from service.engine.request import (
    AdapterStatus,
    CreatedAdapter,
    EngineLimits,
    InferAnswer,
    InferRequest,
    ModelStatus,
    NewAdapter,
    Readiness,
)


class Engine:
    """Hosts base models and answers with the adapters of the registry. Constructing it starts nothing."""

    def __init__(self, registry: Registry, policy: SourcePolicy, limits: EngineLimits) -> None:
        self.registry = registry

    # ---- life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin loading every model whose record says hosted, one after the other, in the background."""
        raise NotImplementedError

    def stop(self, grace_s: float) -> None:
        """Refuse new requests, give those that are queued or run `grace_s` seconds, answer the rest `Unavailable`,
        join every thread. May be called twice."""
        raise NotImplementedError

    def readiness(self) -> Readiness:
        """Never raises: what is away is said in `reasons` and `degraded`."""
        raise NotImplementedError

    @property
    def generation(self) -> int:
        """The registry's generation as of the snapshot that requests resolve in; no database read."""
        raise NotImplementedError

    # ---- base models ----------------------------------------------------------------------------------------

    def register_model(
        self,
        id: str,  # noqa: A002 - the contract's own word
        source: Source,
        *,
        dtype: str | None = None,
        device: str | None = None,
        task: str | None = None,
        example_inputs: Mapping[str, Any] | None = None,
    ) -> ModelStatus:
        """Check the source, register, begin loading. Raises `Invalid` (nothing is registered) and `Conflict`."""
        raise NotImplementedError

    def wait_for_model(self, model: str, timeout_s: float) -> ModelStatus:
        """The status once the model is no longer loading, or after `timeout_s` as it is then. Raises `NotFound`."""
        raise NotImplementedError

    def model(self, model: str) -> ModelStatus:
        """Raises `NotFound`."""
        raise NotImplementedError

    def models(self, limit: int, after: str | None = None) -> tuple[ModelStatus, ...]:
        """At most `limit`, by id, beginning behind `after`."""
        raise NotImplementedError

    def modules(self, model: str) -> Architecture:
        """Every module an adapter could target. Raises `NotFound`; `Conflict` while it was never built."""
        raise NotImplementedError

    def load_model(self, model: str) -> ModelStatus:
        """Begin loading, also again after a failure; a model that is ready or loading stays so. Raises `NotFound`."""
        raise NotImplementedError

    def unload_model(self, model: str) -> ModelStatus:
        """Out of memory once the requests that run have their answers; registration and adapters stay."""
        raise NotImplementedError

    def remove_model(self, model: str, cascade: bool = False) -> None:
        """Forget it. Raises `NotFound`, and `Conflict` while adapters refer to it, unless `cascade` removes them too."""
        raise NotImplementedError

    # ---- adapters -------------------------------------------------------------------------------------------

    def create_adapter(self, new: NewAdapter) -> CreatedAdapter:
        """Version 1, with initial or given weights; attached at once if the model is hosted.

        Raises `NotFound` (model), `Conflict` (name taken; the model never could be built), `Unavailable` (its first
        build is under way), `Invalid`/`Unsupported` (config or weights), `NoRoom`; then nothing is stored.
        """
        raise NotImplementedError

    def check_adapter(self, new: NewAdapter) -> CreatedAdapter:
        """The dry run: all of `create_adapter` but storing and attaching. Version 1 as it would be."""
        raise NotImplementedError

    def add_version(
        self,
        name: str,
        *,
        config: Mapping[str, Any] | None = None,
        weights: bytes,
        metadata: Mapping[str, Any] | None = None,
        accept_unknown: tuple[str, ...] = (),
        if_match: str | None = None,
    ) -> CreatedAdapter:
        """The next version; `config` None keeps the newest's own. `if_match` is the digest it builds on (`Stale`)."""
        raise NotImplementedError

    def adapter(self, name: str) -> AdapterStatus:
        """Raises `NotFound`."""
        raise NotImplementedError

    def adapters(self, limit: int, after: str | None = None, model: str | None = None) -> tuple[AdapterStatus, ...]:
        """At most `limit`, by name, beginning behind `after`. Raises `NotFound` for an unknown `model`."""
        raise NotImplementedError

    def remove_adapter(self, name: str) -> None:
        """Out of the registry and out of memory. Raises `NotFound`, and `Conflict` while requests hold it."""
        raise NotImplementedError

    def load_adapter(self, model: str, name: str) -> AdapterStatus:
        """Make the reference `name` resident. Raises `NotFound`; `Conflict`/`Unavailable` if the model isn't ready."""
        raise NotImplementedError

    def unload_adapter(self, model: str, name: str) -> AdapterStatus:
        """Take every version that the reference `name` means out of memory, those that requests hold once these are
        done (the status then still says resident)."""
        raise NotImplementedError

    def state(self, reference: str) -> tuple[AdapterVersion, bytes]:
        """A version and its blob, verified. Raises `NotFound`, `Damaged`, `Unavailable`."""
        raise NotImplementedError

    # ---- inference ------------------------------------------------------------------------------------------

    async def infer(self, request: InferRequest) -> InferAnswer:
        """Answer with the adapters that the rows name; never blocks the event loop, never reads the database.

        Raises `NotFound` (model, references: all of them at once), `Conflict` (not loaded), `Unavailable` (loading,
        stopping, a blob store that is away), `Invalid` (inputs, outputs, entries), `Overloaded`, `DeadlinePassed`.
        """
        raise NotImplementedError
