"""The verbs of base models, a few lines each: what the registry says a model should be, and what is in memory."""

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Unpack

from models_registry.errors import Conflict, NotFound, Unavailable
from models_registry.inputs.json_inputs import decode_inputs
from models_registry.records import Architecture, BaseModel, Once, Source
from models_registry.references import named_by, require_name
from models_registry.registry import BaseModelChange, BaseModelOptions, Registry
from service.front.access.caller import current_caller
from service.front.access.names import finds, hidden_models, shown
from service.front.hosts.host_manager import HostManager
from service.front.hosts.place import Place
from service.front.requests import HostReport, ModelModules, ModelStats, ModelStatus
from service.front.resolution.registry_snapshot import Snapshot
from service.front.services.idempotency import create_once
from service.front.services.statuses import host_report, model_status
from service.protocol.types import ModelProfile

PAGE = 256
KEPT_FAILURES = 64
"""Of withdrawn registrations. Callers who wait look twenty times a second, so that the newest ones suffice."""


class Models:
    """The base models that are registered, hosted or not. Every verb may block.

    Those that read look for changes afterwards, so that the generation in an answer covers everything in it.
    """

    def __init__(self, registry: Registry, snapshot: Snapshot, hosts: HostManager) -> None:
        self._registry = registry
        self._snapshot = snapshot
        self._hosts = hosts
        # What the registry says a model should be and what is in memory change together.
        self._lifecycle = threading.Lock()
        # By id and time of registration. A caller who waits under the same key may look only after the withdrawal.
        # Others read without a lock, which a cache of cachetools' would not bear.
        self._withdrawn = OrderedDict[tuple[str, datetime], Place]()

    def register(
        self, id: str, source: Source, *, once: Once | None = None, **options: Unpack[BaseModelOptions]
    ) -> ModelStatus:
        """Check the source, register, begin loading. A model that failed and has no adapters gives its place to a new
        one of its id. Raises `Invalid` (nothing is registered) and `Conflict`.

        A repeated call under the same `once` returns what was registered then, as it is now.
        """
        base = create_once(once, self._registry.find_registered, lambda: self._register(id, source, once, options))
        self._snapshot.refresh()
        return model_status(base, self._place_of(base) or self._hosts.place(base.id))

    def watch(self, base: BaseModel) -> Callable[[], ModelStatus]:
        """What says how far this registration is, from memory alone; a failure also once it was withdrawn. It raises
        `NotFound` once the model was removed, or was withdrawn by another process."""
        place = self._place_of(base) or Place("loading", None)

        def look() -> ModelStatus:
            nonlocal place
            if (now := self._place_of(base)) is not None:
                place = now
            elif place.state != "failed" and place.registered_at is not None:
                raise NotFound(f"The base model {base.id!r} was removed while its caller waited for it.")
            return model_status(base, place)

        return look

    def withdraw(self, failed: ModelStatus, once: Once | None = None) -> bool:
        """Undo a registration that failed, so that its id and its key are free. Whether it is gone: a model that has
        got adapters since, in a process where it could be built, stays."""
        base, close = failed.base, None
        with self._lifecycle:
            gone = self._registry.withdraw_base_model(base, once)
            if gone and self._hosts.place(base.id).registered_at == base.created_at:
                self._keep_failure(failed)
                close = self._hosts.forget(base.id)
        if close is not None:
            close()
        self._snapshot.refresh()
        return gone

    def find(self, model: str) -> ModelStatus:
        """Raises `NotFound`."""
        # First what is in memory: what it says of a build is on record by then.
        place = self._hosts.place(model)
        base = self._registry.find_base_model(model)
        self._snapshot.refresh()
        return self._as_caller_sees(model_status(base, place))

    def host(self, model: str) -> HostReport:
        """The process that runs it. Raises `NotFound`."""
        self._registry.find_base_model(model)
        return host_report(self._hosts.place(model))

    def page(self, limit: int, after: str | None = None) -> tuple[ModelStatus, ...]:
        """At most `limit` of those that the caller may use, by id, beginning behind `after`."""
        self._snapshot.refresh()
        bases = self._registry.list_base_models(
            limit, after, among=current_caller().models, hidden=hidden_models(self._snapshot.view)
        )
        return tuple(self._status(base) for base in bases)

    def stats(self) -> dict[str, ModelStats]:
        """Of each model; from memory, also while the database is away."""
        versions = Counter[str]()
        for adapter in self._snapshot.view.adapters.values():
            versions[adapter.model] += len(adapter.versions)
        return {model: _stats(place, versions[model]) for model, place in self._hosts.all_places().items()}

    def modules(self, model: str) -> ModelModules:
        """Every module an adapter could target. Raises `NotFound`; while it was never built, `Unavailable` if it is
        loading, else `Conflict`."""
        hosted = self._hosts.hosted(model)
        profile = hosted.profile() if hosted else ModelProfile()
        return ModelModules(self._architecture(model), profile.entered or None, profile.bypassed)

    def load(self, model: str) -> ModelStatus:
        """Begin loading, also again after a failure; a model that is ready or loading stays so. Raises `NotFound`, and
        `NoRoom` where the pinned adapters of others would no longer fit beside it."""
        self._hosts.require_room(model)
        with self._lifecycle:
            base = self._registry.set_hosted(model, True)
            self._hosts.load(base)
        self._snapshot.refresh()
        return self._status(base)

    def unload(self, model: str) -> ModelStatus:
        """Out of memory once the requests that run have their answers; registration and adapters stay."""
        with self._lifecycle:
            base = self._registry.set_hosted(model, False)
            close = self._hosts.unload(base)
        close()
        self._snapshot.refresh()
        return self._status(base)

    def change(self, model: str, change: BaseModelChange) -> ModelStatus:
        """Say who may use it, and how many replicas it has. Raises `NotFound`, `Invalid` for unknown teams."""
        base = self._registry.change_base_model(model, change)
        self._snapshot.refresh()
        return self._status(base)

    def remove(self, model: str, cascade: bool = False) -> None:
        """Forget it. Raises `NotFound`, and `Conflict` while adapters refer to it, unless `cascade` removes these."""
        with self._lifecycle:
            self._registry.remove_base_model(model, cascade)
            self._snapshot.refresh()
            close = self._hosts.forget(model)
        close()

    def start(self) -> None:
        """Begin loading every model whose record says hosted, one after the other, in the background."""
        self._hosts.start(self._all_bases())

    def follow(self) -> None:
        """Bring memory to what the registry says, whichever process changed it. Raises `Unavailable`."""
        with self._lifecycle:
            self._hosts.follow(self._all_bases())

    def _all_bases(self) -> Iterator[BaseModel]:
        """By id, read page by page."""
        after = None
        while page := self._registry.list_base_models(PAGE, after):
            yield from page
            after = page[-1].id

    def _register(self, id: str, source: Source, once: Once | None, options: BaseModelOptions) -> BaseModel:
        require_name("id", id)
        if (example_inputs := options.get("example_inputs")) is not None:
            decode_inputs(example_inputs, "example_inputs")
        self._hosts.require_room(id)
        former = self._hosts.place(id)
        options["replacing"] = former.registered_at if former.state == "failed" else None
        opening = self._hosts.open(_unregistered(id, source, options))
        try:
            with self._lifecycle:
                base = self._registry.register_base_model(id, source, once=once, **options)
                self._hosts.load(base, opening)
        except BaseException:
            opening.host.end(Unavailable("The base model was not registered."))
            raise
        return base

    def _place_of(self, base: BaseModel) -> Place | None:
        """Of this registration, and no other of its id; None where this process doesn't know it."""
        place = self._hosts.place(base.id)
        if place.registered_at == base.created_at:
            return place
        return self._withdrawn.get((base.id, base.created_at))

    def _keep_failure(self, failed: ModelStatus) -> None:
        base = failed.base
        self._withdrawn[base.id, base.created_at] = Place("failed", base.created_at, failed.reason, failed.error)
        if len(self._withdrawn) > KEPT_FAILURES:
            self._withdrawn.popitem(last=False)

    def _status(self, base: BaseModel) -> ModelStatus:
        return self._as_caller_sees(model_status(base, self._hosts.place(base.id)))

    def _as_caller_sees(self, status: ModelStatus) -> ModelStatus:
        """Without the adapters in memory of which the caller may not know."""
        view = self._snapshot.view
        resident = (reference for reference in status.resident if finds(view, named_by(reference)))
        return replace(status, resident=tuple(map(shown, resident)))

    def _architecture(self, model: str) -> Architecture:
        if hosted := self._hosts.hosted(model):
            return hosted.built.architecture
        if architecture := self._registry.find_architecture(model):
            return architecture
        place = self._hosts.place(model)
        if place.state == "loading":
            raise Unavailable(
                f"The base model {model!r} is being built for the first time; try again when it is ready."
            )
        raise Conflict(
            f"The base model {model!r} was never built, so that nothing can be checked against it; load it first."
            + (f" Its last build failed: {place.reason}" if place.reason else "")
        )


def _stats(place: Place, versions: int) -> ModelStats:
    if place.hosted is None:
        return ModelStats(place.state, versions, None)
    return ModelStats(
        place.state,
        versions,
        place.hosted.status().stats,
        place.hosted.expired,
        place.hosted.host.process,
        place.restarts,
    )


def _unregistered(id: str, source: Source, options: BaseModelOptions) -> BaseModel:
    """What a host needs to check a source before its model is registered."""
    return BaseModel(
        id=id,
        source=source,
        dtype=options.get("dtype"),
        device=options.get("device"),
        task=options.get("task"),
        example_inputs=options.get("example_inputs"),
        hosted=True,
        created_at=datetime.now(UTC),
        num_labels=options.get("num_labels"),
    )
