"""smollm2 in a host of its own in this process, and texts for it that are as long as is asked."""

import json
import time
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count, cycle, islice, pairwise
from pathlib import Path
from random import Random

import torch

from models_registry.adapters.catalog import dump_config, parse_config
from models_registry.adapters.checkpoint import fresh_checkpoint
from models_registry.adapters.method import PEFT_PREFIX
from models_registry.errors import Unavailable
from models_registry.inputs.values import Inputs
from models_registry.records import AdapterVersion, BaseModel, HuggingFaceSource
from models_registry.safetensors_files import write_safetensors
from service.host.model_host import TorchHost
from service.protocol.texts import OnPart, TextPart
from service.protocol.types import BASE, BuildOrder, Built, HostAnswer, HostLimits, InferCall, Part, Selection

MADE_AT = datetime(2026, 1, 1, tzinfo=UTC)
WORDS = ("sea", "ship", "wind", "moon", "star", "sand", "rain", "fire", "bird", "tree", "road", "door")
"""Each is one token."""
LORA = {"peft_type": "LORA", "r": 16, "lora_alpha": 32, "target_modules": "all-linear", "init_lora_weights": False}
PATIENCE_S = 600.0


class Clock(list[float]):
    """When the parts of a text came."""

    def __call__(self, part: TextPart) -> None:
        self.append(time.perf_counter())

    @property
    def gaps(self) -> list[float]:
        return [later - earlier for earlier, later in pairwise(self)]


class Writer:
    """Asks a host for texts of exactly so many tokens."""

    def __init__(self, host: TorchHost, blobs: dict[str, bytes], built: Built) -> None:
        self._host = host
        self._blobs = blobs
        self._architecture = built.architecture
        self.form = built.arithmetic.form
        self._ids = count()

    def write(self, text: str, tokens: int, on_part: OnPart | None = None, by: Selection = BASE) -> Future[HostAnswer]:
        parameters = {"max_new_tokens": tokens, "ignore_eos": True}
        call = InferCall(Inputs(texts=(text,)), parameters=parameters, chat=False)
        return self._host.infer(next(self._ids), call, (by,), on_part)

    def infer(self, tensors: Mapping[str, torch.Tensor], outputs: Sequence[str]) -> Future[HostAnswer]:
        return self._host.infer(next(self._ids), InferCall(Inputs(tensors), tuple(outputs)), (BASE,))

    def cancel_all(self) -> None:
        """What was asked for until now."""
        for id in range(next(self._ids)):
            self._host.cancel(id)

    def adapter(self, number: int, directory: Path | None = None) -> Selection:
        """With random weights, written to `directory` too, as PEFT writes them."""
        checkpoint = fresh_checkpoint(parse_config(LORA), self._architecture, number)
        if directory is not None:
            directory.mkdir()
            (directory / "adapter_config.json").write_text(json.dumps(dump_config(checkpoint.config)))
            weights = write_safetensors(checkpoint.tensors, prefix=PEFT_PREFIX)
            (directory / "adapter_model.safetensors").write_bytes(weights)
        weights, digest = write_safetensors(checkpoint.tensors), f"{number:064d}"
        self._blobs[digest] = weights
        version = AdapterVersion(
            f"a{number}",
            "smollm2",
            1,
            "LORA",
            dump_config(checkpoint.config),
            digest,
            checkpoint.parameters,
            len(weights),
            tuple(target.name for target in checkpoint.targets),
            {},
            self._architecture.fingerprint,
            MADE_AT,
        )
        return Selection((Part(version, version.key, 1.0),))


@contextmanager
def smollm2(directory: Path, dtype: str) -> Generator[Writer]:
    """Ready: it has been probed, and has written."""
    blobs: dict[str, bytes] = {}
    host = TorchHost(blobs.__getitem__)
    path = directory.resolve()
    base = BaseModel("smollm2", HuggingFaceSource(str(path)), dtype, None, None, None, True, MADE_AT)
    host.open(BuildOrder(base, (str(path.parent),), (), HostLimits("cpu"))).result(PATIENCE_S)
    writer = Writer(host, blobs, host.build().result(PATIENCE_S))
    try:
        writer.write(words(8, 0), 2).result(PATIENCE_S)
        yield writer
    finally:
        host.end(Unavailable("The bench is over."))


def words(number: int, seed: int) -> str:
    return " ".join(Random(seed).choices(WORDS, k=number))


def taking_turns(values: Sequence[int], number: int) -> list[int]:
    return list(islice(cycle(values), number))
