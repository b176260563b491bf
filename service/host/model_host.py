"""One base model in memory: its module, its worker, its queue, the adapters that are in memory with it."""

from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import torch

from models_registry.architecture import describe
from models_registry.base_models.opening import open_spec
from models_registry.base_models.sources import SourcePolicy
from models_registry.base_models.spec import BaseModelSpec, Rows
from models_registry.errors import Conflict, RegistryError, Unavailable
from models_registry.injection.adapted_model import AdaptedModel, PreparedAdapter
from models_registry.injection.kernels.kernel_table import KernelTable
from models_registry.injection.probing.coverage import UNKNOWN, ModuleCoverage
from models_registry.records import AdapterVersion, Architecture, BaseModel
from models_registry.registry import Registry
from service.front.requests import EngineLimits
from service.host.adapters.adapter_cache import AdapterCache
from service.host.adapters.loader import AdapterLoader
from service.host.device import (
    adapter_room,
    choose_device,
    choose_dtype,
    device_of,
    dtype_of,
    return_freed_memory,
)
from service.host.execution.examples import check_example, learn_example
from service.host.scheduling.batch_policy import BatchPolicy
from service.host.scheduling.batcher import Batcher
from service.host.worker import Worker
from service.protocol.stats import HostStats

# How long somebody who attaches or unloads an adapter waits for the model's thread, which may be in a long forward.
PATIENCE_S = 1.0
# What an adapter can't do shows in its first request too, so nobody waits longer to be told before.
PROBING_S = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class HostedModel:
    spec: BaseModelSpec
    adapted: AdaptedModel
    adapters: AdapterCache
    joining: BatchPolicy
    batcher: Batcher
    worker: Worker
    probing: Future[tuple[str, ...]]
    dtype: str | None
    device: str

    @property
    def reach(self) -> ModuleCoverage:
        """Where the model takes its rows, once the forward that shows it has run; unknown where it takes for ever."""
        wait([self.probing], PROBING_S)
        return self.adapted.reach or UNKNOWN

    @property
    def warnings(self) -> tuple[str, ...]:
        """What its owner should know, as far as the forward that shows it has run."""
        return self.probing.result() if self.probing.done() and not self.probing.exception() else ()

    @property
    def stats(self) -> HostStats:
        return HostStats(
            self.batcher.stats,
            self.adapters.stats,
            self.adapted.hot.bytes,
            self.adapted.kernels.max_merged_bytes,
            self.worker.rows_per_forward.stats,
            self.worker.adapters_per_forward.stats,
        )

    def attach(self, version: AdapterVersion, prepared: PreparedAdapter) -> None:
        """Make a version resident that its creator has prepared. Raises `NoRoom` where only what others use could make
        room, `Unavailable` where the model's thread is busy for long, or why the model was closed."""
        self.adapters.require_idle_room(prepared)
        placing = self.batcher.call(partial(self.adapters.place, version, prepared))
        try:
            placing.result(PATIENCE_S)
        except TimeoutError as error:
            if placing.cancel():
                raise Unavailable("the base model is busy; the first request brings it into memory.") from error
            placing.result()

    def load(self, version: AdapterVersion, pin: bool = False) -> None:
        """Make a stored version resident, and keep it so where `pin`. Raises as staging does, `NoRoom` where it doesn't
        fit beside what is pinned, or why the model was closed."""
        with self.adapters.claimed(version):
            self.adapters.wait_until_staged(version)
            if pin:
                self.adapters.pin(version)
            self.batcher.call(partial(self.adapters.make_resident, [version])).result()

    def unload(self, adapter: str, version: AdapterVersion | None = None) -> bool:
        """Take all versions of `adapter`, or only `version`, out of memory, pinned or not; those that requests hold go
        with the last of these. Whether all are out: what isn't within `PATIENCE_S` leaves later."""
        self.adapters.unload(adapter, version)
        freed = self.adapters.wait_until_freed(adapter, version, PATIENCE_S)
        if freed:
            return_freed_memory()
        return freed

    def drop_gone(self, gone: Callable[[AdapterVersion], bool]) -> None:
        """Versions that were removed from the registry leave memory with the last request that holds them."""
        lost = self.adapters.unload_gone(gone)
        with suppress(RegistryError):  # it was closed, for whatever reason: all that it knows goes
            self.batcher.call(lambda: self.adapted.silent.difference_update(lost))

    def close(self, reason: RegistryError) -> None:
        """Take no more requests, answering `reason`; returns when those that are queued have their answers."""
        self.batcher.close(reason)
        self.worker.join()


def _read_fitting(registry: Registry, architecture: Architecture, version: AdapterVersion) -> bytes:
    if version.fingerprint != architecture.fingerprint:
        raise Conflict(
            f"{version.reference} was made for other weights of the base model {version.model!r}: for "
            f"{version.fingerprint}, while those in memory are {architecture.fingerprint}. It can't answer with them."
        )
    return registry.read_weights(version)


def _learn(
    base: BaseModel, spec: BaseModelSpec, adapted: AdaptedModel, joining: BatchPolicy, example: Rows | None
) -> tuple[str, ...]:
    if base.example_inputs is not None:
        return learn_example(base.example_inputs, spec, adapted.module, joining)
    joining.learn(example)
    return ()


def host(
    base: BaseModel, registry: Registry, policy: SourcePolicy, limits: EngineLimits, stagers: Executor
) -> HostedModel:
    """Build `base`, pin or compare its fingerprint, start its worker.

    Raises `Invalid` where the source can't be built, `Conflict` for other weights than the pinned ones, and whatever
    a factory raises.
    """
    device = choose_device(base.device or limits.device)
    spec = open_spec(base.source, base.task, policy, base.num_labels)
    # In eval mode torch's fused paths read weights without calling the layers that adapters hook.
    torch.backends.mha.set_fastpath_enabled(False)
    module = spec.build(device, choose_dtype(base.dtype))
    architecture = describe(module, spec.absent_head)
    registry.record_built(base.id, architecture, base.created_at)
    room = adapter_room(device) if limits.max_resident_bytes is None else limits.max_resident_bytes
    merged = room // 8 if limits.max_merged_bytes is None else limits.max_merged_bytes
    adapted = AdaptedModel(module, architecture, KernelTable(max_merged_bytes=merged))
    adapted.calibrate()
    if base.example_inputs is not None:
        check_example(base.example_inputs, spec, module)
    example = spec.example(module) if base.example_inputs is None else None
    batcher = Batcher(limits.max_queue, limits.max_batch_rows)
    read_weights = partial(_read_fitting, registry, architecture)
    adapters = AdapterCache(adapted, AdapterLoader(adapted, read_weights), stagers, room, batcher.wake, batcher.fail)
    joining = BatchPolicy(spec, adapted)
    worker = Worker(base.id, spec, adapted, adapters, joining, batcher)
    worker.start()
    # The model is ready before it is probed: only who asks for its reach, and the first request, wait for that.
    learn = partial(_learn, base, spec, adapted, joining, example)
    probing: Future[tuple[str, ...]] = batcher.call(learn)
    return HostedModel(
        spec, adapted, adapters, joining, batcher, worker, probing, dtype_of(module), str(device_of(module))
    )
