"""Any `nn.Module`, from a factory that the operator allow-listed. It has no tokenizer: its rows are named tensors."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from models_registry.base_models.named_tensors import (
    Signature,
    count_rows,
    name_faults,
    name_outputs,
    signature_of,
    to_module,
)
from models_registry.base_models.seeding import seeded
from models_registry.base_models.spec import Rows
from models_registry.base_models.token_ids import Tables, tables_of, token_faults
from models_registry.base_models.writing import Prompt, TokenDrawer
from models_registry.errors import Invalid
from models_registry.inputs.values import Inputs, OutputValue
from models_registry.records import Fault, PythonSource

NO_TOKENIZER = "This base model is from a Python factory and has no tokenizer."


class PythonSpec:
    """Built by calling the factory with exactly `source.kwargs`."""

    absent_head = None

    def __init__(self, source: PythonSource, factory: Callable[..., object], task: str | None) -> None:
        self.task = task
        self._source = source
        self._factory = factory
        self._tables = Tables()
        self._signature = Signature()

    def build(self, device: torch.device, dtype: torch.dtype | None) -> nn.Module:
        # A factory that initialises at random would give another base model after each restart, and the adapters that
        # refer to this one would have lost it. Seeded, it gives the same one; one that seeds itself isn't affected.
        with seeded():
            module = self._call_factory()
        module.to(device=device, dtype=dtype).eval().requires_grad_(False)
        self._signature = signature_of(module)
        if isinstance(module, PreTrainedModel):
            self._tables = tables_of(module)
        if device.type != "cpu":
            _guard_embeddings(module)
        return module

    def prepare(self, inputs: Inputs, chat: bool | None, parameters: Mapping[str, Any] | None) -> Inputs:
        if parameters is not None:
            message = f"This base model doesn't write texts: {NO_TOKENIZER} Leave `parameters` out."
            raise Invalid(message, [Fault(("parameters",), message)])
        if chat is not None or inputs.has_text:
            loc = ("inputs", "messages" if inputs.chats else "text") if chat is None else ("chat",)
            message = f"{NO_TOKENIZER} Send named tensors."
            raise Invalid(message, [Fault(loc, message)])
        return inputs

    def read(self, module: nn.Module, inputs: Inputs) -> Rows:
        self.prepare(inputs, None, None)
        signature = self._signature
        known = (*signature.names, *inputs.tensors) if signature.takes_any else signature.names
        count = count_rows(inputs.tensors)
        faults = list(name_faults(inputs.tensors, known, signature.required))
        faults += token_faults(self._tables, inputs.tensors)
        if faults:
            raise Invalid("The inputs don't fit the model.", faults)
        return Rows(tensors=to_module(inputs.tensors, module), count=count)

    def forward(self, module: nn.Module, rows: Rows) -> Mapping[str, OutputValue]:
        tensors = dict(rows.tensors)
        positional = [tensors.pop(name) for name in self._signature.positional if name in tensors]
        return name_outputs(module(*positional, **tensors))

    def default_outputs(self, inputs: Inputs) -> None:
        return None

    def example(self, module: nn.Module) -> Rows | None:
        return None

    def writer(self, module: nn.Module) -> None:
        return None

    def prompts(self, inputs: Inputs, parameters: Mapping[str, Any]) -> tuple[Prompt, ...]:
        raise Invalid(f"It can't write text. {NO_TOKENIZER}", [Fault(("parameters",), NO_TOKENIZER)])

    def generate(
        self,
        module: nn.Module,
        inputs: Inputs,
        parameters: Mapping[str, Any],
        stopped: Callable[[], bool],
        places: Sequence[int] = (),
    ) -> tuple[str, ...]:
        raise Invalid(f"It can't write text. {NO_TOKENIZER}", [Fault(("parameters",), NO_TOKENIZER)])

    def write(self, module: nn.Module, inputs: Inputs, parameters: Mapping[str, Any], drawer: TokenDrawer) -> None:
        raise Invalid(f"It can't write text. {NO_TOKENIZER}", [Fault(("parameters",), NO_TOKENIZER)])

    def joins(self, parameters: Mapping[str, Any]) -> bool:
        return False

    def _call_factory(self) -> nn.Module:
        name, kwargs = self._source.factory, dict(self._source.kwargs)
        try:
            module = self._factory(**kwargs)
        except Exception as error:  # the factory is the operator's code: whatever it raises is why there is no model
            message = f"{name} raised {type(error).__name__}: {error}"
            raise Invalid(message, [Fault(("source", "kwargs"), message)]) from error
        if not isinstance(module, nn.Module):
            message = f"{name} returned a {type(module).__name__}, not an nn.Module."
            raise Invalid(message, [Fault(("source", "factory"), message)])
        return module


def _guard_embeddings(module: nn.Module) -> None:
    """On a CPU a wrong index raises IndexError; on a GPU it would end the process, so it has to be found before."""
    for part in module.modules():
        if isinstance(part, nn.Embedding):
            part.register_forward_pre_hook(partial(_check_indices, part.num_embeddings), with_kwargs=True)


def _check_indices(bound: int, _: nn.Module, args: tuple[Tensor, ...], kwargs: Mapping[str, Tensor]) -> None:
    for ids in (*args, *kwargs.values()):
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < bound:
            raise IndexError(f"An index is outside the embedding's {bound} rows.")
