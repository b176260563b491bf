"""What an order to build a base model says wrongly, all of it at once, before anything is built."""

from collections.abc import Callable
from pathlib import Path

from models_registry.base_models.opening import open_spec
from models_registry.base_models.sources import SourcePolicy, check_task
from models_registry.base_models.spec import BaseModelSpec
from models_registry.errors import Invalid
from models_registry.records import Fault
from service.host.device import choose_device, choose_dtype
from service.protocol.types import BuildOrder


def open_ordered(order: BuildOrder) -> BaseModelSpec:
    """The spec of what is to be built. Raises `Invalid` with the faults of dtype, device, task and source together, and
    otherwise as `open_spec` does."""
    base, policy = order.base, SourcePolicy(tuple(map(Path, order.model_roots)), order.factories)
    wrong = [
        *_fault_of(lambda: choose_dtype(base.dtype)),
        *_fault_of(lambda: choose_device(base.device or order.limits.device)),
        *(wrong_task := _fault_of(lambda: check_task(base.task))),
    ]
    task = None if wrong_task else base.task
    if not wrong:
        return open_spec(base.source, task, policy, base.num_labels)
    raise _together([*wrong, *_fault_of(lambda: open_spec(base.source, task, policy, base.num_labels))])


def _fault_of(check: Callable[[], object]) -> list[Invalid]:
    try:
        check()
    except Invalid as error:
        return [error]
    return []


def _together(found: list[Invalid]) -> Invalid:
    if len(found) == 1:
        return found[0]
    faults = [fault for error in found for fault in error.faults or (Fault(("source",), error.detail),)]
    return Invalid("The base model can't be built from these fields.", faults)
