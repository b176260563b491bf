"""A base model in memory, joined with its worker, its queue and its adapters."""

import os
from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import nn

from models_registry.architecture import describe
from models_registry.arithmetic import Arithmetic
from models_registry.base_models.spec import BaseModelSpec, Rows
from models_registry.base_models.writing import Writer
from models_registry.call_forms import CallForm
from models_registry.errors import RegistryError
from models_registry.injection.adapted_model import AdaptedModel
from models_registry.injection.kernels.kernel_table import KernelTable
from models_registry.records import Architecture, BaseModel
from service.host.adapters.adapter_cache import AdapterCache
from service.host.adapters.loader import AdapterLoader
from service.host.adapters.weights import ReadBlob, read_fitting
from service.host.device import a_quarter_of_memory, choose_device, choose_dtype, device_of, dtype_of
from service.host.execution.arithmetic import arithmetic_of
from service.host.execution.examples import check_example, learn_example
from service.host.generation.engine import Engine, engine_for
from service.host.generation.fallback import Fallback
from service.host.generation.text_reader import TextReader
from service.host.generation.texts import Texts
from service.host.low_priority import run_with_low_priority
from service.host.scheduling.batch_policy import BatchPolicy
from service.host.scheduling.batcher import Batcher
from service.host.scheduling.request_reader import RequestReader
from service.host.worker import Watch, Worker
from service.protocol.stats import HostStats, TextStats
from service.protocol.types import BuildOrder, HostLimits, HostStatus

# Staging waits for the blob store and may not hold up reading, which only needs the processor. Nor may blobs that come
# slowly hold up others: there are more than enough threads to wait in.
READERS = min(4, os.cpu_count() or 1)
STAGERS = 64
MOST_COPIED = 2 << 30
"""Bytes of the copies that running texts share; never more than adapters may take."""


@dataclass(frozen=True, slots=True, eq=False)
class LiveModel:
    adapted: AdaptedModel
    loader: AdapterLoader
    cache: AdapterCache
    batcher: Batcher
    reader: RequestReader
    worker: Worker
    probing: Future[tuple[str, ...]]
    limits: HostLimits
    engine: Engine | None
    room: int
    cache_room: int
    dtype: str | None
    arithmetic: Arithmetic
    call_form: CallForm
    device: str

    @property
    def warnings(self) -> tuple[str, ...]:
        """What its owner should know, as far as the forward that shows it has run."""
        return self.probing.result() if self.probing.done() and not self.probing.exception() else ()

    @property
    def stats(self) -> HostStats:
        return HostStats(
            self.batcher.stats,
            self.cache.stats,
            self.adapted.merged_weights.bytes,
            self.adapted.kernels.max_merged_bytes,
            self.worker.rows_per_forward.stats,
            self.worker.adapters_per_forward.stats,
            TextStats() if self.engine is None else self.engine.stats,
        )

    def status(self, keys: Collection[str]) -> HostStatus:
        return HostStatus(
            self.cache.resident,
            self.cache.residency(keys),
            frozenset(self.adapted.inactive),
            self.warnings,
            self.probing.done(),
            self.stats,
        )

    def architecture_with(self, labels: int | None) -> Architecture:
        """With so many classes of an absent head, where its adapters say how many."""
        architecture = self.adapted.architecture
        if labels is None or architecture.absent_head is None:
            return architecture
        return replace(architecture, absent_head=replace(architecture.absent_head, labels=labels))

    def share(self, models: int) -> None:
        """Limits that nobody set are divided by so many models."""
        room = self.room if self.limits.max_resident_bytes is not None else self.room // max(1, models)
        self.cache.limit(room)
        if self.limits.max_merged_bytes is None:
            self.adapted.kernels = replace(self.adapted.kernels, max_merged_bytes=room // 8)
        if self.engine is not None and self.limits.max_cache_bytes is None:
            self.engine.limit(self.cache_room // max(1, models))

    def forget(self, keys: Collection[str]) -> None:
        """Versions that were removed leave memory with the last request that uses them."""
        self.cache.forget(keys)
        with suppress(RegistryError):  # it was closed, for whatever reason: all that it knows goes
            self.batcher.call(lambda: self.adapted.inactive.difference_update(keys))


def build(order: BuildOrder, spec: BaseModelSpec, read_blob: ReadBlob, watch: Watch) -> LiveModel:
    """Build the module and start its worker; `watch` hears what that begins.

    Raises `Invalid` where the source can't be built or its example doesn't fit, and whatever a factory raises.
    """
    base, limits = order.base, order.limits
    device = choose_device(base.device or limits.device)
    # In eval mode torch's fused paths read weights without calling the layers that adapters hook.
    torch.backends.mha.set_fastpath_enabled(False)
    module, architecture = run_with_low_priority(partial(_build, base, spec, device))
    dtype = dtype_of(module)
    arithmetic = run_with_low_priority(partial(arithmetic_of, base, spec, module))
    room = a_quarter_of_memory(device) if limits.max_resident_bytes is None else limits.max_resident_bytes
    merged = room // 8 if limits.max_merged_bytes is None else limits.max_merged_bytes
    adapted = AdaptedModel(
        module, architecture, KernelTable(max_paged_bytes=min(MOST_COPIED, room), max_merged_bytes=merged)
    )
    adapted.calibrate()
    if base.example_inputs is not None:
        check_example(base.example_inputs, spec, module)
    example = spec.example(module) if base.example_inputs is None else None
    batcher = Batcher(limits.max_queue, limits.max_batch_rows)
    loader = AdapterLoader(adapted, partial(read_fitting, read_blob, architecture))
    cache = AdapterCache(adapted, loader, ThreadPoolExecutor(STAGERS, "stager"), room, batcher.wake, batcher.fail)
    policy = BatchPolicy(spec, adapted)
    at = device_of(module)
    readers = ThreadPoolExecutor(READERS, "reader")
    cache_room = a_quarter_of_memory(device) if limits.max_cache_bytes is None else limits.max_cache_bytes
    writer = spec.writer(module)
    texts = None if writer is None else _texts(base.id, spec, writer, adapted, limits, cache_room, watch)
    engine = texts and texts.engine
    text_reader = None if writer is None else TextReader(spec, writer)
    reader = RequestReader(adapted, policy, batcher, cache, readers, limits, text_reader)
    worker = Worker(base.id, adapted, cache, policy, batcher, watch, texts)
    worker.start()
    # The model is ready before it is probed: only who asks for its profile, and the first request, wait for that.
    probing: Future[tuple[str, ...]] = batcher.call(partial(_learn, base, spec, adapted, policy, example))
    if engine is not None:
        batcher.call(partial(engine.prove, spec))
    return LiveModel(
        adapted,
        loader,
        cache,
        batcher,
        reader,
        worker,
        probing,
        limits,
        engine,
        room,
        cache_room,
        dtype,
        arithmetic,
        "hermes" if writer is None else writer.call_form,
        str(at),
    )


def _texts(
    name: str, spec: BaseModelSpec, writer: Writer, adapted: AdaptedModel, limits: HostLimits, room: int, watch: Watch
) -> Texts:
    fallback = Fallback(name, spec, writer, adapted, watch)
    return Texts(name, fallback, engine_for(name, writer, adapted, limits.max_batch_rows, room), watch)


def _build(base: BaseModel, spec: BaseModelSpec, device: torch.device) -> tuple[nn.Module, Architecture]:
    module = spec.build(device, choose_dtype(base.dtype))
    return module, describe(module, spec.absent_head)


def _learn(
    base: BaseModel, spec: BaseModelSpec, adapted: AdaptedModel, policy: BatchPolicy, example: Rows | None
) -> tuple[str, ...]:
    if base.example_inputs is not None:
        return learn_example(base.example_inputs, spec, adapted.module, policy)
    policy.learn(example)
    return ()
