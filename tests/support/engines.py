"""A running engine for a test: the real registry and blob store in a directory, and an event loop to ask from."""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import save
from torch import Tensor

from models_registry.base_models.sources import SourcePolicy
from models_registry.inputs.values import Inputs, OutputValue
from models_registry.records import AdapterVersion, PythonSource
from models_registry.registry import Registry
from models_registry.storage.blobs import open_blob_store
from models_registry.storage.database import Database, migrate, open_database
from service.front.engine import Engine
from service.front.hosts.host_manager import HostManager
from service.front.requests import AdapterChoices, CreatedAdapter, InferAnswer, InferRequest, ModelStatus, NewAdapter
from service.host.live_model import LiveModel
from service.host.model_host import TorchHost
from service.protocol.types import HostLimits, Residency
from service.transports.in_process import InProcess

TIMEOUT_S = 120.0
# Tests put what they need in the place of two by name: those are not the module's own then.
FACTORIES = ("bases:*", "deadly:*", "odd_models:odd_model", "gated:*", "gated:exits", "gated:remembered")
LORA: Mapping[str, Any] = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["first", "second"]}
RANDOM_LORA: Mapping[str, Any] = {**LORA, "init_lora_weights": False}
ADALORA: Mapping[str, Any] = {"peft_type": "ADALORA", "init_r": 2, "target_modules": ["first"], "total_step": 100}
IA3: Mapping[str, Any] = {"peft_type": "IA3", "target_modules": ["first"], "feedforward_modules": []}
ROWS = torch.linspace(-1, 1, 12).reshape(3, 4)


class Running:
    """An engine that was started, and the loop on which `ask` awaits it."""

    def __init__(self, directory: Path, limits: HostLimits | None = None, database_url: str | None = None) -> None:
        url = database_url or f"sqlite:///{directory}/registry.db"
        migrate(url)
        self.directory = directory
        self.blobs = directory / "blobs"
        self.database: Database = open_database(url)
        self.store = open_blob_store(f"file:{self.blobs}")
        self.registry = Registry(self.database, self.store)
        self.engine = Engine(
            self.registry,
            InProcess(self.read_blob),
            SourcePolicy((directory / "models",), FACTORIES),
            limits or HostLimits(device="cpu"),
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.engine.start()

    def read_blob(self, digest: str) -> bytes:
        """What hosts read adapters by; a test may put something in the place of the store's `get`."""
        return self.store.get(digest)

    @property
    def hosting(self) -> HostManager:
        """For what falls between two steps."""
        return self.engine.models._hosts  # pyright: ignore[reportPrivateUsage]

    def live(self, model: str = "m") -> LiveModel:
        """What its host has in memory, for what no answer shows."""
        host = self.hosting.find(model).host
        assert isinstance(host, TorchHost)
        live = host._model  # pyright: ignore[reportPrivateUsage]
        assert live is not None
        return live

    def stop(self, grace_s: float = TIMEOUT_S) -> None:
        self.engine.stop(grace_s)

    def close(self) -> None:
        if self._loop.is_closed():
            return
        self.engine.stop(0.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self.database.close()

    def state(self, reference: str) -> bytes:
        """The stored blob."""
        with self.engine.adapters.open_state(self.engine.adapters.find_version(reference)) as file:
            return file.read()

    def host(self, model: str = "m", factory: str = "bases:mlp", **kwargs: Any) -> ModelStatus:
        """Register and wait until it is no longer loading."""
        self.begin_hosting(model, factory, **kwargs)
        return self.wait_for_model(model)

    def wait_for_model(self, model: str) -> ModelStatus:
        """The status once it is no longer loading."""
        until = time.monotonic() + TIMEOUT_S
        while (status := self.engine.models.find(model)).state == "loading" and time.monotonic() < until:
            time.sleep(0.002)
        return status

    def begin_hosting(self, model: str, factory: str, **kwargs: Any) -> ModelStatus:
        return self.engine.models.register(model, PythonSource(factory, kwargs))

    def create(
        self, name: str, config: Mapping[str, Any] = RANDOM_LORA, model: str = "m", seed: int = 0
    ) -> CreatedAdapter:
        return self.engine.adapters.create(NewAdapter(model, name, config, seed=seed))

    def tier(self, adapter: str) -> Residency:
        """Where its first version is."""
        return self.engine.adapters.find(adapter).residency[1].tier

    def ask(
        self,
        adapters: AdapterChoices = None,
        x: Tensor = ROWS,
        model: str = "m",
        outputs: tuple[str, ...] | None = None,
        deadline: float | None = None,
    ) -> Future[InferAnswer]:
        """Begin to infer; the future is the caller's own (cancelling it is what a caller who leaves does)."""
        request = InferRequest(model, Inputs({"x": x}), adapters, outputs, deadline=deadline)
        return self.ask_for(request)

    def ask_for(self, request: InferRequest) -> Future[InferAnswer]:
        return asyncio.run_coroutine_threadsafe(self.engine.infer(request), self._loop)

    def answer_for(self, request: InferRequest) -> InferAnswer:
        return self.ask_for(request).result(TIMEOUT_S)

    def answer(self, adapters: AdapterChoices = None, x: Tensor = ROWS, **how: Any) -> InferAnswer:
        return self.ask(adapters, x, **how).result(TIMEOUT_S)

    def output(self, adapters: AdapterChoices = None, x: Tensor = ROWS, **how: Any) -> Tensor:
        return tensor(self.answer(adapters, x, **how).outputs["output"])


class Start(Protocol):
    """The fixture `start`: an engine on this test's registry."""

    def __call__(self, limits: HostLimits | None = None) -> Running: ...


def tensor(value: OutputValue) -> Tensor:
    assert isinstance(value, Tensor)
    return value


def version_of(adapter: str, model: str = "m") -> AdapterVersion:
    """A version as the registry would name it, where nothing but its name matters."""
    made_at = datetime(2026, 1, 1, tzinfo=UTC)
    return AdapterVersion(adapter, model, 1, "LORA", {}, "0" * 64, 0, 0, (), {}, "0" * 64, made_at)


def lora_weights(scale: float = 1.0) -> bytes:
    """An upload that fits `LORA` on the tiny MLPs and does something."""
    generator = torch.Generator().manual_seed(1)
    shapes = {"first": (4, 8), "second": (8, 3)}
    tensors = {
        f"{name}.lora_{side}.weight": scale * torch.randn(shape, generator=generator)
        for name, (narrow, wide) in shapes.items()
        for side, shape in (("A", (2, narrow)), ("B", (wide, 2)))
    }
    return save(tensors)


def eventually(holds: Callable[[], bool]) -> None:
    """Wait for what another thread is about to do."""
    deadline = time.monotonic() + TIMEOUT_S
    while not holds():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.001)
