"""A model's cache and queue without its thread: a test takes each step itself."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from typing import Any

import bases
import torch
from engines import RANDOM_LORA, version_of

from models_registry.adapters.catalog import dump_config, parse_config
from models_registry.adapters.checkpoint import fresh_checkpoint
from models_registry.base_models.spec import Rows
from models_registry.errors import Damaged
from models_registry.injection.adapted_model import AdaptedModel
from models_registry.inputs.values import Inputs
from models_registry.records import AdapterVersion
from models_registry.safetensors_files import write_safetensors
from service.host.adapters.adapter_cache import AdapterCache
from service.host.adapters.loader import AdapterLoader
from service.host.scheduling.batcher import Batcher
from service.host.scheduling.job import BatchKey, Job
from service.protocol.types import InferCall, Part, Residency, Selection

ONE = 92  # bytes of each rank of `RANDOM_LORA` on the tiny MLP: 23 float32 numbers
RANKS = {"a": 1, "b": 1, "c": 1, "d": 1, "e": 2, "f": 2, "g": 3, "h": 4}
TEAMS = {"A:x": 1, "A:y": 1, "A:z": 1, "B:x": 1, "B:y": 1, "B:z": 1}
"""Ranks too, of two teams besides the default one."""
ROOM = 4
MAX_ROWS = 3
X = Rows({"x": torch.ones(1, 4)}, 1)


class Stagers(Executor):
    """Threads that get on only when the test says so."""

    def __init__(self) -> None:
        self.orders: list[Callable[[], object]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.orders.append(lambda: fn(*args, **kwargs))
        return Future()

    def finish(self, number: int = 0) -> None:
        if self.orders:
            self.orders.pop(number % len(self.orders))()


@dataclass(frozen=True)
class Stored:
    version: AdapterVersion
    blob: bytes


def stored(adapted: AdaptedModel, name: str, claimed_parameters: int | None = None) -> Stored:
    config = parse_config({**RANDOM_LORA, "r": (RANKS | TEAMS)[name]})
    checkpoint = fresh_checkpoint(config, adapted.architecture, 0)
    version = replace(
        version_of(name),
        config=dump_config(checkpoint.config),
        parameters=checkpoint.parameters if claimed_parameters is None else claimed_parameters,
    )
    return Stored(version, write_safetensors(checkpoint.tensors))


class Town:
    """A model's residency and its queue, without threads."""

    def __init__(self, room: int = ROOM * ONE) -> None:
        self.adapted = AdaptedModel(bases.mlp())
        self.room = room
        self.stored = {name: stored(self.adapted, name) for name in RANKS | TEAMS}
        self.broken: set[str] = set()
        self.stagers = Stagers()
        self.batcher = Batcher(10_000, MAX_ROWS)
        self.loader = AdapterLoader(self.adapted, self._read)
        self.reading: Callable[[str], object] = lambda name: None
        """Hears what is read."""
        self.adapters = AdapterCache(
            self.adapted,
            self.loader,
            self.stagers,
            room,
            self.batcher.wake,
            self.batcher.fail,
        )
        self.asked: list[Job] = []

    def _read(self, version: AdapterVersion) -> bytes:
        self.reading(version.adapter)
        if version.adapter in self.broken:
            raise Damaged(version.digest)
        return self.stored[version.adapter].blob

    def ask(self, *names: str) -> Job:
        versions = [self.stored[name].version for name in names]
        selections = tuple(Selection((Part(version, version.key, 1.0),)) for version in versions)
        job = Job(InferCall(Inputs(X.tensors)), selections, X, Future(), 0.0, BatchKey("rows"))
        self.batcher.admit(job.future)
        self.adapters.acquire(job.versions)
        job.future.add_done_callback(lambda _: self.adapters.release(job.versions))
        self.adapters.prefetch(job.versions)
        self.batcher.put(job)
        self.asked.append(job)
        return job

    def run(self) -> tuple[Job, ...]:
        """What the model's thread does once: who was answered."""
        self.batcher.refuse(self.adapters.rebalance(self.batcher.in_fair_order()))
        self.check()
        jobs = self.batcher.take(self.adapters.absent) or ()
        assert isinstance(jobs, tuple)
        begun = tuple(job for job in jobs if job.begin())
        for job in begun:
            self.adapters.make_resident(job.versions)
        self.check()
        for job in begun:
            with self.adapted.routed_whole({}):
                assert job.keys <= set(self.adapted.adapters)
            job.future.set_result(None)  # pyright: ignore[reportArgumentType] - what it is told doesn't matter here
        return begun

    def tier(self, version: AdapterVersion) -> Residency:
        return self.adapters.residency([version.key])[version.key].tier

    def check(self) -> None:
        attached = sum((RANKS | TEAMS)[name.partition("@")[0]] * ONE for name in self.adapted.adapters)
        assert attached <= self.adapters.taken <= self.room

    def settle(self) -> None:
        """Let everything come and run."""
        for _ in range(3 * len(self.asked) + 10):
            while self.stagers.orders:
                self.stagers.finish()
            self.run()


def names(jobs: tuple[Job, ...]) -> list[str]:
    return ["+".join(sorted(job.adapters)) for job in jobs]
