"""The host of one base model in this process: its module, its worker, its queue, its adapters in memory.

It implements the protocol's verbs; they are answered here over any transport. What may wait does so on
threads of its own, so that every verb returns at once.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import TypeVar

from cachetools import FIFOCache

from models_registry.adapters.catalog import parse_config
from models_registry.adapters.checkpoint import fresh_checkpoint
from models_registry.base_models.spec import BaseModelSpec
from models_registry.errors import NotFound, RegistryError, Unavailable
from models_registry.injection.adapted_model import PreparedAdapter
from models_registry.injection.probing.coverage import UNKNOWN
from models_registry.records import AdapterVersion
from models_registry.references import reference_of
from service.host.adapters.weights import ReadBlob
from service.host.background import in_background
from service.host.device import give_memory_back, return_freed_memory
from service.host.live_model import LiveModel, build
from service.host.low_priority import run_with_low_priority
from service.host.merging import merge_versions
from service.host.order_check import open_ordered
from service.host.scheduling.request_reader import Pending
from service.host.worker import Watch
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
    distinct_versions,
)

# How long somebody who attaches or unloads an adapter waits for the model's thread, which may be in a long forward.
PATIENCE_S = 1.0
# A fault of an adapter also shows in its first request, so no caller waits longer for the probe.
PROBING_S = 10.0
# A thread that is stuck in a forward can't be ended.
JOIN_S = 1.0
WAITERS = 32
MOST_PREPARED = 4
"""Prepared versions whose commit is awaited; others are read again when they are attached."""
MOST_FORGOTTEN = 100_000

T = TypeVar("T")

log = logging.getLogger(__name__)


class TorchHost:
    """See `protocol.host.ModelHost`. `read_blob` gives the bytes of a digest, verified."""

    def __init__(self, read_blob: ReadBlob, watch: Watch | None = None) -> None:
        self._read_blob = read_blob
        self._watch = self._record_work if watch is None else watch
        self._work: Work | None = None
        self._waiters = ThreadPoolExecutor(WAITERS, "waiter")
        self._order: BuildOrder | None = None
        self._spec: BaseModelSpec | None = None
        self._model: LiveModel | None = None
        self._changing = threading.Lock()
        self._pending: dict[int, Pending] = {}
        self._long_calls: dict[int, threading.Event] = {}
        self._prepared: FIFOCache[str, PreparedAdapter] = FIFOCache(MOST_PREPARED)
        self._forgotten: FIFOCache[str, None] = FIFOCache(MOST_FORGOTTEN)
        self._lost: Future[HostLoss] = Future()
        self._ended: RegistryError | None = None

    @property
    def lost(self) -> Future[HostLoss]:
        return self._lost

    @property
    def process(self) -> None:
        return None

    @property
    def work(self) -> Work | None:
        return self._work

    # ---- building -----------------------------------------------------------------------------------------------

    def open(self, order: BuildOrder) -> Future[None]:
        def check() -> None:
            self._spec = open_ordered(order)
            self._order = order

        return in_background(f"opening {order.base.id}", check)

    def build(self) -> Future[Built]:
        order, spec = self._order, self._spec
        assert order is not None, "`open` comes first"
        assert spec is not None, "`open` comes first"

        def begin() -> Built:
            model = build(order, spec, self._read_blob, self._watch)
            self._model = model
            if (reason := self._ended) is not None:  # meanwhile, so that nobody else ends what was built
                self.end(reason)
                raise reason
            architecture, arithmetic = model.adapted.architecture, model.arithmetic
            return Built(architecture, model.dtype, model.device, spec.task, arithmetic, model.call_form)

        return in_background(f"building {order.base.id}", begin)

    def profile(self) -> Future[ModelProfile]:
        def look() -> ModelProfile:
            model = self._live
            wait([model.probing], PROBING_S)
            coverage = model.adapted.profile.coverage or UNKNOWN
            return ModelProfile(coverage.entered, coverage.bypassed, model.warnings)

        return self._submit(look)

    # ---- inference ----------------------------------------------------------------------------------------------

    def infer(
        self, id: int, call: InferCall, selections: tuple[Selection, ...], on_part: OnPart | None = None
    ) -> Future[HostAnswer]:
        pending = Pending(id, call, selections, on_part)
        self._pending[id] = pending
        pending.future.add_done_callback(lambda _: self._pending.pop(id, None))
        try:
            model = self._live
            self._require_known(version.key for version in distinct_versions(selections))
            model.reader.admit(pending)
        except Exception as error:
            pending.fail(error)
        return pending.future

    def cancel(self, id: int) -> None:
        if pending := self._pending.get(id):
            pending.cancel()
        if stopped := self._long_calls.get(id):
            stopped.set()

    # ---- adapters -----------------------------------------------------------------------------------------------

    def prepare(self, version: AdapterVersion) -> Future[None]:
        def read() -> None:
            prepared = self._live.loader.prepare(version, None)
            with self._changing:
                self._prepared[_content_of(version)] = prepared

        return self._submit(read)

    def attach(self, version: AdapterVersion) -> Future[None]:
        return self._submit(partial(self._attach, version))

    def load(self, version: AdapterVersion, pin: bool, replicas: int | None = None) -> Future[None]:
        def bring() -> None:
            model = self._live
            self._require_known([version.key])
            with model.cache.claimed(version):
                model.cache.wait_until_staged(version)
                if pin:
                    model.cache.pin(version)
                model.batcher.call(partial(model.cache.make_resident, [version])).result()

        return self._submit(bring)

    def unload(self, keys: Collection[str]) -> Future[bool]:
        def take_out() -> bool:
            cache = self._live.cache
            cache.unload(keys)
            freed = cache.wait_until_freed(keys, PATIENCE_S)
            if freed:
                return_freed_memory()
            return freed

        return self._submit(take_out)

    def forget(self, keys: Collection[str]) -> None:
        with self._changing:
            self._forgotten.update(dict.fromkeys(keys))
        if (model := self._model) is not None:
            model.forget(keys)

    def initial_weights(self, id: int, fresh: FreshWeights) -> Future[Tensors]:
        stopped = self._long_calls.setdefault(id, threading.Event())

        def make() -> Tensors:
            model = self._live
            checkpoint = fresh_checkpoint(
                parse_config(fresh.config, fresh.unknown),
                model.architecture_with(fresh.labels),
                fresh.seed,
                model.adapted.base_weight,
                accept_unmatched=fresh.unmatched,
                stopped=stopped.is_set,
            )
            return checkpoint.tensors

        drawn = self._submit(make)
        drawn.add_done_callback(lambda _: self._long_calls.pop(id))
        return drawn

    def merge(self, id: int, order: MergeOrder) -> Future[Merged]:
        stopped = self._long_calls.setdefault(id, threading.Event())
        work = partial(merge_versions, order, self._read_blob, stopped.is_set)
        merged = in_background("merging", lambda: run_with_low_priority(work))
        merged.add_done_callback(lambda _: self._long_calls.pop(id))
        return merged

    def status(self, keys: Collection[str] = ()) -> Future[HostStatus]:
        future: Future[HostStatus] = Future()
        try:
            future.set_result(self._live.status(keys))
        except RegistryError as error:
            future.set_exception(error)
        return future

    # ---- the end ------------------------------------------------------------------------------------------------

    def share(self, models: int) -> None:
        if (model := self._model) is not None:
            model.share(models)

    def share_resident(self, shares: Mapping[str, float]) -> None:
        if (model := self._model) is not None:
            model.cache.share(shares)

    def give_up(self, reason: RegistryError) -> None:
        if (model := self._model) is not None:
            model.worker.give_up(reason)

    def close(self, reason: RegistryError) -> Future[None]:
        self._ended = reason
        model = self._model
        if model is not None:
            model.batcher.close(reason)

        def finish() -> None:
            if model is not None:
                model.worker.join()
            self._drop()

        return in_background("closing a model", finish)

    def kill(self, reason: str) -> None:
        self.give_up(Unavailable(f"The base model can't answer: {reason}."))

    def end(self, reason: RegistryError) -> bool:
        self._ended = reason
        model, ended = self._model, True
        if model is not None:
            model.batcher.close(reason)
            model.worker.give_up(reason)
            ended = model.worker.join(JOIN_S)
        self._drop()
        return ended

    # ---- inside -------------------------------------------------------------------------------------------------

    @property
    def _live(self) -> LiveModel:
        if (model := self._model) is None:
            reason = self._ended or Unavailable("The base model is not in memory.")
            raise reason.with_traceback(None)  # or it would collect those of everybody who is refused
        return model

    def _submit(self, work: Callable[[], T]) -> Future[T]:
        """On a thread that may wait."""
        try:
            return self._waiters.submit(work)
        except RuntimeError as error:  # it has ended
            future: Future[T] = Future()
            future.set_exception(self._ended or error)
            return future

    def _require_known(self, keys: Iterable[str]) -> None:
        gone = [reference_of(key) for key in keys if key in self._forgotten]
        if gone:
            raise NotFound(f"There is no adapter version {', '.join(gone)} any more.")

    def _record_work(self, ids: tuple[int, ...] | None) -> None:
        self._work = None if ids is None else Work(ids, time.monotonic())

    def _attach(self, version: AdapterVersion) -> None:
        model = self._live
        self._require_known([version.key])
        with self._changing:
            prepared = self._prepared.pop(_content_of(version), None)
        if prepared is None:
            prepared = model.loader.prepare(version, None)
        model.cache.require_idle_room(version, prepared)
        placing = model.batcher.call(partial(model.cache.place, version, prepared))
        try:
            placing.result(PATIENCE_S)
        except TimeoutError as error:
            if placing.cancel():
                raise Unavailable("the base model is busy; the first request brings it into memory.") from error
            placing.result()

    def _drop(self) -> None:
        self._model, self._spec = None, None
        self._prepared.clear()
        self._waiters.shutdown(wait=False)  # what still waits there finds no model
        give_memory_back()


def _content_of(version: AdapterVersion) -> str:
    """What its tensors follow from; known before the version has its number and its time."""
    return f"{version.digest} {json.dumps(version.config, sort_keys=True)}"
