"""What a model's owner gave as `example_inputs`: rows that the model was seen to take, or why there are none."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from models_registry.base_models.spec import BaseModelSpec, Rows
from models_registry.errors import Invalid
from models_registry.injection.probing.row_independence import NOTHING
from models_registry.inputs.json_inputs import decode_inputs, whole_numbers
from models_registry.records import Fault
from service.host.scheduling.batch_policy import BatchPolicy

AT = "example_inputs"
LONGEST_REASON = 500


def check_example(raw: Mapping[str, Any], spec: BaseModelSpec, module: nn.Module) -> None:
    """Raises `Invalid` for names, tokens and shapes that the model can't take, whatever the numbers' dtype."""
    inputs = decode_inputs(raw, AT)
    try:
        spec.read(module, inputs)
    except Invalid as error:
        faults = [Fault((AT, *fault.loc[1:]), fault.message) for fault in error.faults]
        raise Invalid(f"{AT}: {error.detail}", faults) from error


def learn_example(
    raw: Mapping[str, Any], spec: BaseModelSpec, module: nn.Module, policy: BatchPolicy
) -> tuple[str, ...]:
    """Let the example show what the model does with rows. What its owner should know of it; never raises.

    Whole numbers that the model doesn't run on are tried as floats: JSON's `1` may have meant `1.0`.
    """
    rows, reason = _tried(spec, module, raw, ())
    if rows is not None:
        return _learned(policy, rows)
    for names in _maybe_floats(raw):
        rows, _ = _tried(spec, module, raw, names)
        if rows is not None:
            floats = f"{', '.join(names)} {'holds' if len(names) == 1 else 'acquire'} whole numbers, on which the model"
            way_out = "Write 1.0 instead of 1, or give a dtype, here and in requests."
            warning = f"{AT}: {floats} doesn't run ({reason}); they were tried as floats. {way_out}"
            return (warning, *_learned(policy, rows))
    return (f"{AT}: the model doesn't run on them ({reason}), so they show nothing of its modules and rows.",)


def _learned(policy: BatchPolicy, rows: Rows) -> tuple[str, ...]:
    if rows.count is None:
        return (f"{AT}: without a common leading dimension they have no rows, so they show nothing of the model.",)
    policy.learn(rows)
    if policy.proof is NOTHING:
        reason = "the model doesn't run on several rows made from them, or these are all alike"
        return (f"{AT}: they don't show that rows stay rows ({reason}), so requests don't share forwards.",)
    return ()


def _tried(
    spec: BaseModelSpec, module: nn.Module, raw: Mapping[str, Any], floats: tuple[str, ...]
) -> tuple[Rows | None, str]:
    """The rows, if a forward takes them, else why not."""
    try:
        rows = spec.read(module, decode_inputs(raw, AT, floats=floats))
        with torch.inference_mode():
            spec.forward(module, rows)
    except Invalid as error:
        return None, " ".join(str(error).split())[:LONGEST_REASON]
    except (Exception, SystemExit) as error:  # a module may raise anything, and this is only an example
        return None, " ".join(f"{type(error).__name__}: {error}".split())[:LONGEST_REASON]
    return rows, ""


def _maybe_floats(raw: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """All inputs that hold whole numbers, then each of them alone: another may hold indices."""
    names = whole_numbers(raw)
    if names:
        yield names
    if len(names) > 1:
        yield from ((name,) for name in names)
