"""Chooses the fastest arithmetic that reads exactly the stored numbers, by measuring steps of the model itself."""

import time
from collections.abc import Callable, Mapping, Sequence
from math import exp, inf, log
from typing import Final, TypeAlias

import torch
from torch import Tensor, nn

from models_registry.arithmetic import Arithmetic, Form
from models_registry.injection.arithmetic.weight_forms import WeightForms

Work: TypeAlias = Callable[[], Mapping[str, object]]
"""A forward, and its outputs by name."""

FORMS: Final[Sequence[Form]] = ("as_stored", "float32", "float16_weights")
KNOWN: Final = (torch.bfloat16, torch.float16, torch.float32)
RUNS: Final = 2
LIMIT_S: Final = 1.5
"""No second round of runs begins later."""
CLEARLY: Final = 0.95
"""Times may differ by so much by chance; what takes more memory must be faster by more."""
ALIKE: Final = 1e-4
"""How much the outputs of both forms that compute in float32 may differ, relative to their norm."""


def as_stored(module: nn.Module, reason: str) -> Arithmetic:
    return Arithmetic("as_stored", reason, sum(parameter.nbytes for parameter in module.parameters()))


def seconds_of(work: Work) -> float:
    """Of this process's time on the cores: what others do on them doesn't count."""
    begun = time.process_time()
    work()
    return max(time.process_time() - begun, time.get_clock_info("process_time").resolution)


def choose_arithmetic(
    module: nn.Module, works: Sequence[Work], measure: Callable[[Work], float] = seconds_of
) -> Arithmetic:
    """Measure `works` in each form that is exact here, and put `module` into the fastest. Nothing else may use it
    meanwhile. Never raises: what can't be measured computes as it is stored."""
    refusal = _refusal(module, works)
    if refusal is not None:
        return as_stored(module, refusal)
    try:
        forms = WeightForms(module)
    except (MemoryError, RuntimeError) as error:
        return as_stored(module, f"There is no memory to measure another form ({error}).")
    try:
        with torch.inference_mode():
            taken = _measured(forms, works, measure)
    except Exception as error:  # a module may raise anything; as stored, its requests will say what
        forms.use("as_stored")
        return as_stored(module, f"It couldn't be measured ({type(error).__name__}: {error}).")
    ratios: dict[Form, float] = {form: _mean_ratio(times, taken["as_stored"]) for form, times in taken.items()}
    best: Form = "as_stored"
    for form in taken:
        if ratios[form] < CLEARLY * ratios[best]:
            best = form
    forms.use(best)
    rounded: dict[str, float] = {form: round(ratio, 3) for form, ratio in ratios.items()}
    return Arithmetic(best, _reason(best, rounded, forms), forms.bytes(best), rounded)


def _refusal(module: nn.Module, works: Sequence[Work]) -> str | None:
    parameters = list(module.parameters())
    if not works:
        return "There is nothing to measure: register it with example_inputs."
    if any(parameter.device.type != "cpu" for parameter in parameters):
        return "Only a CPU has other forms."
    if not parameters or any(parameter.dtype not in KNOWN for parameter in parameters):
        return "It has weights of another dtype than bfloat16, float16 and float32."
    return None


def _measured(forms: WeightForms, works: Sequence[Work], measure: Callable[[Work], float]) -> dict[Form, list[float]]:
    """Seconds of each work: the best of a few runs, the forms in turn, for what else runs on a machine only ever adds.
    The first run warms up and shows whether a form computes the same."""
    begun = time.perf_counter()
    expected: list[Mapping[str, object]] = []
    usable: list[Form] = []
    for form in FORMS:
        if form not in forms.refused and (outputs := _tried(forms, form, works)) is not None:
            if form == "float16_weights" and not all(map(_are_alike, outputs, expected)):
                forms.refused[form] = "it computes something else here"
                continue
            usable.append(form)
            expected = outputs
    best: dict[Form, list[float]] = {form: [inf] * len(works) for form in usable}
    for run in range(RUNS):
        if run and time.perf_counter() - begun > LIMIT_S:
            break
        for form in usable:
            forms.use(form)
            for at, work in enumerate(works):
                best[form][at] = min(best[form][at], measure(work))
    return best


def _tried(forms: WeightForms, form: Form, works: Sequence[Work]) -> list[Mapping[str, object]] | None:
    forms.use(form)
    try:
        return [work() for work in works]
    except Exception as error:  # a module may raise anything in a form that its author never tried
        if form == "as_stored":
            raise
        forms.refused[form] = f"the model doesn't run so ({type(error).__name__}: {error})"
        return None


def _are_alike(ours: Mapping[str, object], theirs: Mapping[str, object]) -> bool:
    for name, tensor in ours.items():
        other = theirs[name]
        if not isinstance(tensor, Tensor) or not isinstance(other, Tensor) or not tensor.is_floating_point():
            continue
        difference = (tensor - other).double().norm().item()
        if not difference <= ALIKE * other.double().norm().item():
            return False
    return True


def _mean_ratio(times: Sequence[float], others: Sequence[float]) -> float:
    return exp(sum(log(one / other) for one, other in zip(times, others, strict=True)) / len(times))


def _reason(best: Form, ratios: Mapping[str, float], forms: WeightForms) -> str:
    others = ", ".join(f"{form} x{ratio:.2f}" for form, ratio in ratios.items() if form != "as_stored")
    found = [f"a step takes {others} of as_stored"] if others else []
    found += [f"{form}: {why}" for form, why in forms.refused.items()]
    opening = "It is the fastest" if best != "as_stored" else "No other is clearly faster"
    return f"{opening} ({'; '.join(found)})."
