"""How a hosted base model computes, and why. It is reported beside what the model is, and no part of that."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Form: TypeAlias = Literal["as_stored", "float32", "float16_weights"]
"""`as_stored`: in the dtype that the weights are stored in. `float32`: the same numbers, widened. `float16_weights`:
float32 too, but linear layers read copies of their weights in float16, where these are exactly the same numbers."""


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """`bytes` is what the weights take in this form, copies included. `ratios` are what was measured: the time of a
    step over that of the weights as stored, by form."""

    form: Form
    reason: str
    bytes: int
    ratios: Mapping[str, float] = field(default_factory=dict[str, float])
