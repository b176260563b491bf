"""A host over any transport, for a test that sees of it only what the protocol says, and what such a test expects."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import bases
import torch
from engines import FACTORIES, RANDOM_LORA, TIMEOUT_S, eventually
from torch import Tensor, nn

from models_registry.adapters.catalog import dump_config, parse_config
from models_registry.adapters.checkpoint import fresh_checkpoint
from models_registry.architecture import describe
from models_registry.inputs.values import Inputs
from models_registry.records import AdapterVersion, BaseModel, PythonSource
from models_registry.safetensors_files import read_safetensors, write_safetensors
from models_registry.storage.blobs import BlobStore, open_blob_store
from service.protocol.host import ModelHost, Transport
from service.protocol.types import BASE, BuildOrder, HostAnswer, HostLimits, HostStatus, InferCall, Part, Selection
from service.transports.in_process import InProcess
from service.transports.local_process import HostSettings, LocalProcess
from service.transports.processes.launch import Launcher

TRANSPORTS: Mapping[str, Callable[[str, Launcher], Transport]] = {
    "local_process": lambda blob_url, launcher: LocalProcess(HostSettings(blob_url), launcher),
    "in_process": lambda blob_url, _: InProcess(open_blob_store(blob_url).get),
}
"""Each begins with the URL of the store that its hosts read blobs from, and with what starts processes."""
ROWS = torch.linspace(-1, 1, 12).reshape(3, 4)
CPU = HostLimits("cpu")
_ids = count()


class Gate:
    """Of the `bases.waiting` that was given its folder: files, because the model may be in another process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._shut, self._arrived = folder / "shut", folder / "arrived"
        self._arrived.touch()

    def shut(self) -> None:
        self._shut.touch()

    def open(self) -> None:
        self._shut.unlink(missing_ok=True)

    @property
    def arrivals(self) -> list[int]:
        """How many rows each forward had that came to it."""
        return list(map(int, self._arrived.read_text().split()))

    def wait_for_arrivals(self, number: int) -> None:
        eventually(lambda: len(self.arrivals) >= number)


def order(
    factory: str = "bases:mlp",
    limits: HostLimits = CPU,
    *,
    dtype: str | None = None,
    device: str | None = None,
    example_inputs: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> BuildOrder:
    base = BaseModel(
        "m", PythonSource(factory, kwargs), dtype, device, None, example_inputs, True, datetime(2026, 1, 1, tzinfo=UTC)
    )
    return BuildOrder(base, (), FACTORIES, limits)


def build(host: ModelHost, order: BuildOrder) -> ModelHost:
    host.open(order).result(TIMEOUT_S)
    host.build().result(TIMEOUT_S)
    return host


def put(
    blobs: BlobStore, name: str, *, module: nn.Module | None = None, seed: int = 0, **config: Any
) -> AdapterVersion:
    """An adapter of `module`, as the front names it once its blob is stored."""
    architecture = describe(bases.mlp() if module is None else module)
    checkpoint = fresh_checkpoint(parse_config({**RANDOM_LORA, **config}), architecture, seed)
    weights = write_safetensors(checkpoint.tensors)
    return AdapterVersion(
        adapter=name,
        model="m",
        version=1,
        method="LORA",
        config=dump_config(checkpoint.config),
        digest=blobs.put(weights),
        parameters=checkpoint.parameters,
        bytes=len(weights),
        targets=tuple(target.name for target in checkpoint.targets),
        metadata={},
        fingerprint=architecture.fingerprint,
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
    )


def select(*weighted: tuple[AdapterVersion, float]) -> Selection:
    """One row's; none is the base."""
    return Selection(tuple(Part(version, version.key, weight) for version, weight in weighted)) if weighted else BASE


def ask(
    host: ModelHost, *selections: Selection, x: Tensor = ROWS, id: int | None = None, **how: Any
) -> Future[HostAnswer]:
    call = InferCall(Inputs({"x": x}), per_row=len(selections) > 1, **how)
    return host.infer(next(_ids) if id is None else id, call, selections or (BASE,))


def status_of(host: ModelHost, *versions: AdapterVersion) -> HostStatus:
    return host.status([version.key for version in versions]).result(TIMEOUT_S)


def tier_of(host: ModelHost, version: AdapterVersion) -> str:
    known = status_of(host, version).versions
    return known[version.key].tier if version.key in known else "stored"


def bare(blobs: BlobStore, *weighted: tuple[AdapterVersion, float]) -> nn.Module:
    """The model with these adapters in its weights, by PEFT's formula and none of our injection."""
    module = bases.mlp()
    for version, weight in weighted:
        tensors = read_safetensors(blobs.get(version.digest))
        for name in version.targets:
            a, b = (tensors[f"{name}.lora_{side}.weight"] for side in "AB")
            with torch.no_grad():
                module.get_parameter(f"{name}.weight").add_(
                    weight * version.config["lora_alpha"] / version.config["r"] * b @ a
                )
    return module
