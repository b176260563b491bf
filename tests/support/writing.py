"""A host in this process that writes texts with a tiny llama, and adapters for it."""

from collections.abc import Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import torch
from engines import TIMEOUT_S, eventually
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from word_models import save, tiny_llama, word_tokenizer

from models_registry.adapters.catalog import dump_config, parse_config
from models_registry.adapters.checkpoint import fresh_checkpoint
from models_registry.architecture import describe
from models_registry.inputs.values import Inputs
from models_registry.records import AdapterVersion, BaseModel, HuggingFaceSource
from models_registry.safetensors_files import write_safetensors
from service.host.generation.engine import Engine
from service.host.model_host import TorchHost
from service.protocol.texts import OnPart
from service.protocol.types import BASE, BuildOrder, HostAnswer, HostLimits, InferCall, Part, Selection

LORA: Mapping[str, Any] = {
    "peft_type": "LORA",
    "r": 4,
    "lora_alpha": 32,
    "target_modules": ["q_proj", "v_proj", "down_proj"],
    "init_lora_weights": False,
}


class WritingHost:
    def __init__(
        self,
        directory: Path,
        limits: HostLimits | None = None,
        tokenizer: PreTrainedTokenizerFast | None = None,
        dtype: str | None = None,
        stored: torch.dtype = torch.float32,
        model: PreTrainedModel | None = None,
        task: str = "text-generation",
    ) -> None:
        """With a tiny llama, or another `model` of this `task`."""
        if tokenizer is None:
            tokenizer = word_tokenizer()
            tokenizer.model_max_length = 256  # with less, the rows of the model's own example are all alike
        if model is None:
            model = _llama(stored, len(tokenizer), tokenizer.model_max_length)
        save(model, tokenizer, directory / "model")
        self._architecture = describe(model)
        self._blobs: dict[str, bytes] = {}
        self._ids = count()
        self.host = TorchHost(self._blobs.__getitem__)
        source = HuggingFaceSource(str(directory / "model"))
        made_at = datetime(2026, 1, 1, tzinfo=UTC)
        base = BaseModel("m", source, dtype, None, task, None, True, made_at)
        self.host.open(BuildOrder(base, (str(directory),), (), limits or HostLimits("cpu"))).result(TIMEOUT_S)
        self.built = self.host.build().result(TIMEOUT_S)

    @property
    def engine(self) -> Engine:
        """For what no answer shows."""
        texts = self.host._live.worker._texts  # pyright: ignore[reportPrivateUsage]
        assert texts is not None
        assert texts.engine is not None
        return texts.engine

    def wait_for(self, texts: int) -> None:
        """Until so many wait for a step, which must be held."""
        live = self.host._live  # pyright: ignore[reportPrivateUsage]
        eventually(lambda: live.batcher.stats.rows == texts)

    def adapter(self, name: str, seed: int, **config: Any) -> Selection:
        architecture = self._architecture
        checkpoint = fresh_checkpoint(parse_config({**LORA, **config}), architecture, seed)
        weights = write_safetensors(checkpoint.tensors)
        digest = f"{seed:064d}"
        self._blobs[digest] = weights
        version = AdapterVersion(
            name,
            "m",
            1,
            "LORA",
            dump_config(checkpoint.config),
            digest,
            checkpoint.parameters,
            len(weights),
            tuple(target.name for target in checkpoint.targets),
            {},
            architecture.fingerprint,
            datetime(2026, 1, 1, tzinfo=UTC),
        )
        return Selection((Part(version, version.key, 1.0),))

    def ask(
        self,
        *texts: str,
        adapters: tuple[Selection, ...] = (BASE,),
        on_part: OnPart | None = None,
        id: int | None = None,
        remaining_s: float | None = None,
        team: str = "default",
        **parameters: Any,
    ) -> Future[HostAnswer]:
        call = InferCall(
            Inputs(texts=texts),
            parameters=parameters,
            per_row=len(adapters) > 1,
            remaining_s=remaining_s,
            team=team,
        )
        return self.host.infer(next(self._ids) if id is None else id, call, adapters, on_part)

    def ask_with(self, inputs: Inputs, on_part: OnPart | None = None, **parameters: Any) -> Future[HostAnswer]:
        """For what isn't text."""
        return self.host.infer(next(self._ids), InferCall(inputs, parameters=parameters), (BASE,), on_part)

    def run(self, *texts: str) -> Future[HostAnswer]:
        """One forward, without parameters."""
        return self.host.infer(next(self._ids), InferCall(Inputs(texts=texts)), (BASE,), None)

    def write(self, *texts: str, **how: Any) -> tuple[str, ...]:
        written = self.ask(*texts, **how).result(TIMEOUT_S).outputs["text"]
        assert isinstance(written, tuple)
        return written

    def generate(self, *texts: str, **parameters: Any) -> tuple[str, ...]:
        """What the spec writes by transformers' `generate`, without adapters."""
        live = self.host._live  # pyright: ignore[reportPrivateUsage]
        spec = live.reader._policy.spec  # pyright: ignore[reportPrivateUsage]
        return spec.generate(live.adapted.module, Inputs(texts=texts), parameters, lambda: False)


def _llama(stored: torch.dtype, *sizes: int) -> PreTrainedModel:
    model = tiny_llama(*sizes)
    nn.Module.to(model, stored)
    return model
