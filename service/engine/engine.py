"""The verbs of the service, a few lines each: they join what the registry knows with what is in memory now.

Every verb but `infer` is synchronous and may block (database, blob store, a forward that is under way).
"""

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from models_registry.adapters.catalog import parse_config
from models_registry.adapters.checkpoint import not_in_memory
from models_registry.base_models.json_inputs import decode_inputs
from models_registry.base_models.sources import SourcePolicy, open_spec
from models_registry.errors import Conflict, NotFound, RegistryError, Unavailable
from models_registry.injection.adapted_model import PreparedAdapter
from models_registry.injection.probe import UNKNOWN
from models_registry.records import AdapterVersion, Architecture, BaseModel, Source
from models_registry.registry import Registry
from service.engine.compositions import draft_composition
from service.engine.drafts import Draft, draft_new, draft_upload
from service.engine.hosted_model import HostedModel
from service.engine.hosting import Hosting
from service.engine.inference import Inference
from service.engine.placement import choose_device, choose_dtype
from service.engine.request import (
    AdapterStatus,
    CreatedAdapter,
    EngineLimits,
    InferAnswer,
    InferRequest,
    ModelModules,
    ModelStatus,
    NewAdapter,
    NewComposition,
    Readiness,
)
from service.engine.snapshot import Snapshot, is_there, require_free, resolve
from service.engine.statuses import adapter_status, model_status

log = logging.getLogger(__name__)

PAGE = 256
# Staging waits for the blob store and may not hold up reading, which only needs the processor.
READERS = min(4, os.cpu_count() or 1)
STAGERS = 4
BYTES_A_NUMBER = 4


class Engine:
    """Hosts base models and answers with the adapters of the registry. Constructing it starts nothing."""

    def __init__(self, registry: Registry, policy: SourcePolicy, limits: EngineLimits) -> None:
        self._registry = registry
        self._policy = policy
        self._limits = limits
        self._readers = ThreadPoolExecutor(READERS, "reader")
        self._stagers = ThreadPoolExecutor(STAGERS, "stager")
        self._snapshot = Snapshot(registry)
        self._hosting = Hosting(registry, policy, limits, self._stagers)
        # What the registry says a model should be and what is in memory change together.
        self._lifecycle = threading.Lock()
        self._inference = Inference(self._snapshot, self._hosting, self._readers)

    # ---- life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin loading every model whose record says hosted, one after the other, in the background."""
        self._snapshot.refresh()
        self._hosting.start(self._all_base_models())

    def stop(self, grace_s: float) -> None:
        """Refuse new requests, give those that are queued or run `grace_s` seconds, answer the rest `Unavailable`,
        join every thread. Must not run on the event loop's own thread: what it waits for is awaited there."""
        self._inference.refuse()
        self._inference.wait(grace_s)
        self._hosting.stop(Unavailable("The service is shutting down; ask another instance."))
        self._readers.shutdown()
        self._stagers.shutdown()

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
            self._registry.check_blobs()
        except RegistryError as error:
            degraded.append(error.detail)
        return Readiness(not reasons, tuple(reasons), tuple(degraded))

    @property
    def generation(self) -> int:
        """The registry's generation as of the snapshot that requests resolve in; no database read."""
        return self._snapshot.view.generation

    # ---- base models ----------------------------------------------------------------------------------------

    def register_model(
        self,
        id: str,
        source: Source,
        *,
        dtype: str | None = None,
        device: str | None = None,
        task: str | None = None,
        example_inputs: Mapping[str, Any] | None = None,
    ) -> ModelStatus:
        """Check the source, register, begin loading. Raises `Invalid` (nothing is registered) and `Conflict`."""
        choose_dtype(dtype)
        choose_device(device or self._limits.device)
        open_spec(source, task, self._policy)
        if example_inputs is not None:
            decode_inputs(example_inputs, "example_inputs")
        with self._lifecycle:
            base = self._registry.register_base_model(
                id, source, dtype=dtype, device=device, task=task, example_inputs=example_inputs
            )
            self._hosting.load(base)
        self._snapshot.refresh()
        return model_status(base, self._hosting.place(base.id))

    def model(self, model: str) -> ModelStatus:
        """Raises `NotFound`."""
        return model_status(self._registry.find_base_model(model), self._hosting.place(model))

    def models(self, limit: int, after: str | None = None) -> tuple[ModelStatus, ...]:
        """At most `limit`, by id, beginning behind `after`."""
        return tuple(
            model_status(base, self._hosting.place(base.id)) for base in self._registry.list_base_models(limit, after)
        )

    def modules(self, model: str) -> ModelModules:
        """Every module an adapter could target. Raises `NotFound`; while it was never built, `Unavailable` if it is
        loading, else `Conflict`."""
        hosted = self._hosting.hosted(model)
        reach = hosted.reach if hosted else UNKNOWN
        return ModelModules(self._architecture(model), reach.entered or None, reach.bypassed)

    def _architecture(self, model: str) -> Architecture:
        if hosted := self._hosting.hosted(model):
            return hosted.adapted.architecture
        if architecture := self._registry.find_architecture(model):
            return architecture
        place = self._hosting.place(model)
        if place.state == "loading":
            raise Unavailable(
                f"The base model {model!r} is being built for the first time; try again when it is ready."
            )
        raise Conflict(
            f"The base model {model!r} was never built, so that nothing can be checked against it; load it first."
            + (f" Its last build failed: {place.reason}" if place.reason else "")
        )

    def load_model(self, model: str) -> ModelStatus:
        """Begin loading, also again after a failure; a model that is ready or loading stays so. Raises `NotFound`."""
        with self._lifecycle:
            base = self._registry.set_hosted(model, True)
            self._hosting.load(base)
        self._snapshot.refresh()
        return model_status(base, self._hosting.place(base.id))

    def unload_model(self, model: str) -> ModelStatus:
        """Out of memory once the requests that run have their answers; registration and adapters stay."""
        with self._lifecycle:
            base = self._registry.set_hosted(model, False)
            close = self._hosting.unload(model)
        close()
        self._snapshot.refresh()
        return model_status(base, self._hosting.place(base.id))

    def remove_model(self, model: str, cascade: bool = False) -> None:
        """Forget it. Raises `NotFound`, and `Conflict` while adapters refer to it, unless `cascade` removes these."""
        with self._lifecycle:
            self._registry.remove_base_model(model, cascade)
            self._snapshot.refresh()
            close = self._hosting.forget(model)
        close()

    # ---- adapters -------------------------------------------------------------------------------------------

    def create_adapter(self, new: NewAdapter) -> CreatedAdapter:
        """Version 1, with initial or given weights; attached at once if the model is hosted.

        Raises `NotFound` (model), `Conflict` (name taken; the model was never built), `Unavailable` (its first build
        is under way), `Invalid`/`Unsupported` (config or weights), `NoRoom`; then nothing is stored.
        """
        draft = self._draft(new)
        return self._store(new.model, draft, partial(self._registry.create_adapter, new.model, new.name))

    def check_adapter(self, new: NewAdapter) -> CreatedAdapter:
        """The dry run: all of `create_adapter` but storing and attaching. Version 1 as it would be."""
        draft = self._draft(new)
        return CreatedAdapter(draft.as_version(new.model, new.name, 1), draft.checkpoint.warnings)

    def compose_adapter(self, new: NewComposition) -> CreatedAdapter:
        """Version 1, merged from stored adapters of the model, in memory or not; stored and attached as by
        `create_adapter`. Raises `NotFound` (all references at once), `Damaged`, and what `create_adapter` does."""
        modules = self.modules(new.model)
        require_free(self._snapshot.view, new.name)
        draft = draft_composition(new, modules, self._snapshot.view, self._registry.read_weights)
        return self._store(new.model, draft, partial(self._registry.create_adapter, new.model, new.name))

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
        """The next version; `config` None keeps the newest's own. `if_match` is the digest (hex) that it builds on.

        Raises `NotFound`, `Stale`, and what `create_adapter` does of the rest; then nothing is stored.
        """
        newest = self._registry.find_adapter(name).newest
        if config is None:
            # What is stored was accepted once, unknown keys included.
            config, accept_unknown = newest.config, tuple(newest.config)
        parsed = parse_config(config, accept_unknown)
        draft = draft_upload(parsed, self.modules(newest.model), weights, metadata or {})
        return self._store(newest.model, draft, partial(self._registry.add_version, name, if_match=if_match))

    def adapter(self, name: str) -> AdapterStatus:
        """Raises `NotFound`."""
        adapter = self._registry.find_adapter(name)
        return adapter_status(adapter, self._hosting.hosted(adapter.model))

    def adapters(self, limit: int, after: str | None = None, model: str | None = None) -> tuple[AdapterStatus, ...]:
        """At most `limit`, by name, beginning behind `after`. Raises `NotFound` for an unknown `model`."""
        if model is not None:
            self._registry.find_base_model(model)
        return tuple(
            adapter_status(adapter, self._hosting.hosted(adapter.model))
            for adapter in self._registry.list_adapters(limit, after, model)
        )

    def remove_adapter(self, name: str) -> None:
        """Out of the registry and out of memory. Raises `NotFound`, and `Conflict` while requests hold it."""
        adapter = self._registry.find_adapter(name)
        with self._inference.none_holds(name):
            self._registry.remove_adapter(name)
            self._snapshot.refresh()
        if hosted := self._hosting.hosted(adapter.model):
            hosted.unload(name)

    def load_adapter(self, model: str, name: str) -> AdapterStatus:
        """Make the reference `name` resident. Raises `NotFound`; `Conflict`/`Unavailable` if the model isn't ready."""
        hosted = self._hosting.find(model)
        version = self._resolve(model, name)
        hosted.load(version)
        if self._drop_if_gone(hosted, version):
            raise NotFound(f"There is no adapter {name!r}.")
        return self.adapter(version.adapter)

    def unload_adapter(self, model: str, name: str) -> AdapterStatus:
        """Take the version that `name@…` means out of memory, or all of them for a bare name; those that requests hold
        go when these are done (the status then still says resident). Raises `NotFound`."""
        self._registry.find_base_model(model)
        version = self._resolve(model, name)
        if hosted := self._hosting.hosted(model):
            hosted.unload(version.adapter, None if name == version.adapter else version)
        return self.adapter(version.adapter)

    def state(self, reference: str) -> tuple[AdapterVersion, bytes]:
        """A version and its blob, verified. Raises `NotFound`, `Damaged`, `Unavailable`."""
        version = self._registry.resolve(reference)
        return version, self._registry.read_weights(version)

    # ---- inference ------------------------------------------------------------------------------------------

    async def infer(self, request: InferRequest) -> InferAnswer:
        """Answer with the adapters that the rows name; never blocks the event loop, never reads the database.

        Raises `NotFound` (model, references: all of them at once), `Conflict` (not loaded), `Unavailable` (loading,
        stopping, a blob store that is away), `Invalid` (inputs, outputs, entries), `Overloaded`, `DeadlinePassed`.
        """
        return await self._inference.infer(request)

    # ---- inside ---------------------------------------------------------------------------------------------

    def _all_base_models(self) -> Iterator[BaseModel]:
        after = None
        while page := self._registry.list_base_models(PAGE, after):
            yield from page
            after = page[-1].id

    def _resolve(self, model: str, reference: str) -> AdapterVersion:
        version = resolve(self._snapshot.view, reference)
        if version.model != model:
            raise NotFound(f"The adapter {version.adapter!r} belongs to model {version.model!r}, not to {model!r}.")
        return version

    def _draft(self, new: NewAdapter) -> Draft:
        modules = self.modules(new.model)
        require_free(self._snapshot.view, new.name)
        hosted = self._hosting.hosted(new.model)
        base = hosted.adapted.base_weight if hosted else not_in_memory
        return draft_new(new, modules, base, self._limits.max_adapter_bytes // BYTES_A_NUMBER)

    def _store(self, model: str, draft: Draft, put: Callable[..., AdapterVersion]) -> CreatedAdapter:
        hosted = self._hosting.hosted(model)
        prepared = hosted.adapted.prepare_adapter(draft.checkpoint) if hosted else None
        version = put(**draft.content)
        self._snapshot.refresh()
        warnings = draft.checkpoint.warnings
        if hosted and prepared:
            warnings = (*warnings, *self._attach(hosted, version, prepared))
        return CreatedAdapter(version, warnings)

    def _attach(self, hosted: HostedModel, version: AdapterVersion, prepared: PreparedAdapter) -> tuple[str, ...]:
        """From the commit on the version exists: what goes wrong now is a warning."""
        try:
            hosted.attach(version, prepared)
        except RegistryError as error:
            return (f"{version.reference} is stored but not in memory yet: {error.detail}",)
        except Exception as error:  # as above; the next request that needs it tries again and shows it
            log.exception("adapter %s could not be attached", version.reference)
            return (f"{version.reference} is stored but could not be attached: {type(error).__name__}: {error}",)
        self._drop_if_gone(hosted, version)
        return ()

    def _drop_if_gone(self, hosted: HostedModel, version: AdapterVersion) -> bool:
        """Its adapter may have been deleted between the look at the registry and the attaching."""
        if is_there(self._snapshot.view, version):
            return False
        hosted.unload(version.adapter, version)
        return True
