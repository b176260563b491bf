"""Where a base model is placed: its device, its dtype, how much its adapters may take there, and giving memory back."""

import ctypes
import gc
import platform
from collections.abc import Mapping
from typing import Final

import torch
from torch import nn

from models_registry.dtypes import dtype_name
from models_registry.errors import Invalid
from models_registry.records import Fault
from service.host.memory_limit import usable_memory

AUTO: Final = "auto"
DTYPES: Final[Mapping[str, torch.dtype]] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}


def choose_device(wish: str) -> torch.device:
    """`auto` is the first GPU if there is one. Raises `Invalid` for a device that doesn't exist here."""
    if wish == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wish)
    except RuntimeError as error:
        raise Invalid(f"{wish!r} is no device.", [Fault(("device",), "write auto, cpu, cuda or cuda:1")]) from error
    if device.type not in {"cpu", "cuda"}:
        raise Invalid(f"Base models can't be put on {wish!r}.", [Fault(("device",), "write auto, cpu, cuda or cuda:1")])
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        message = f"{wish!r} doesn't exist; this machine has {torch.cuda.device_count()} CUDA devices"
        raise Invalid("The device is not there.", [Fault(("device",), message)])
    return device


def choose_dtype(wish: str | None) -> torch.dtype | None:
    """The dtype to build in; None: the source's own, as `auto` has it too, before its arithmetic is chosen. Raises
    `Invalid` for a dtype that no base model can compute in."""
    if wish is None or wish == AUTO:
        return None
    if wish not in DTYPES:
        raise Invalid(f"{wish!r} is no dtype.", [Fault(("dtype",), f"write one of {', '.join((AUTO, *DTYPES))}")])
    return DTYPES[wish]


def device_of(module: nn.Module) -> torch.device:
    """Where the module's first parameter is; a module without any runs on the CPU."""
    return next((parameter.device for parameter in module.parameters()), torch.device("cpu"))


def dtype_of(module: nn.Module) -> str | None:
    """The name of the dtype of the module's first floating parameter."""
    floating = (parameter.dtype for parameter in module.parameters() if parameter.is_floating_point())
    return next((dtype_name(dtype) for dtype in floating), None)


def a_quarter_of_memory(device: torch.device) -> int:
    """Bytes that the adapters of one model, and the keys and values of its texts, may take where the operator set no
    limit."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory // 4
    return usable_memory() // 4


def give_memory_back() -> None:
    """After a model was unloaded: hooks and modules refer to each other, and both allocators keep what was freed."""
    gc.collect()
    return_freed_memory()


def return_freed_memory() -> None:
    """free() leaves freed blocks with the process; an operator who unloads something wants to see them back."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
