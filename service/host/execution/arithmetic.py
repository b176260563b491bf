"""Which arithmetic a hosted model computes in: as its weights are stored, unless `dtype: auto` lets it be measured."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from torch import nn

from models_registry.arithmetic import Arithmetic
from models_registry.base_models.spec import BaseModelSpec, Rows
from models_registry.injection.arithmetic.choice import Work, as_stored, choose_arithmetic
from models_registry.inputs.json_inputs import decode_inputs
from models_registry.records import BaseModel
from service.host.device import AUTO, give_memory_back
from service.host.execution.examples import AT

STEP_ROWS: Final = (4, 16)
"""A model that writes is measured at steps of so many rows, one token each: they are most of what it computes."""


def arithmetic_of(base: BaseModel, spec: BaseModelSpec, module: nn.Module) -> Arithmetic:
    """Let `module` compute as `base` asks; nothing else may use it meanwhile."""
    if base.dtype != AUTO:
        return as_stored(module, "dtype: auto would let another be measured.")
    chosen = choose_arithmetic(module, _works(base, spec, module))
    give_memory_back()
    return chosen


def _works(base: BaseModel, spec: BaseModelSpec, module: nn.Module) -> Sequence[Work]:
    if (raw := base.example_inputs) is not None:
        # Read each time, because floats are read in the dtype that the module has.
        return [lambda: spec.forward(module, spec.read(module, decode_inputs(raw, AT)))]
    example = spec.example(module)
    if example is None:
        return []
    rows = replace(example, from_text=False)
    is_step = spec.writer(module) is not None and len({tensor.shape for tensor in rows.tensors.values()}) == 1
    measured = [_step(rows, count) for count in STEP_ROWS] if is_step else [rows]
    return [partial(spec.forward, module, one) for one in measured]


def _step(rows: Rows, count: int) -> Rows:
    """The first token of the first row, so many times."""
    return Rows({name: tensor[:1, :1].repeat(count, 1) for name, tensor in rows.tensors.items()}, count)
