"""The error for inputs that a transformers forward did not take: our own words first, then the library's."""

from collections.abc import Collection, Generator
from contextlib import contextmanager

import torch

from models_registry.errors import Invalid
from models_registry.records import Fault

LONGEST = 300
# What torch and transformers raise for inputs that they can't compute with.
INPUT_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    TypeError,
    UnboundLocalError,
    ValueError,
)


@contextmanager
def named_inputs(given: Collection[str], known: Collection[str]) -> Generator[None]:
    """Raises `Invalid` naming what the forward takes beside what was `given`, in the place of what is raised inside."""
    try:
        yield
    except torch.AcceleratorError:
        raise  # the device itself failed, whatever the inputs were
    except INPUT_ERRORS as error:
        others = [name for name in known if name not in given]
        message = f"The base model can't run on {', '.join(given)} as sent"
        if others:
            message += f"; if something is missing, its forward also takes {', '.join(others)}"
        reason = " ".join(str(error).split())[:LONGEST]
        fault = Fault(("inputs",), f"{type(error).__name__}: {reason}")
        raise Invalid(f"{message}. It said: {type(error).__name__}: {reason}", [fault]) from error
