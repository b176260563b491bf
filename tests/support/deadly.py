"""Base models that end their host, or never let go of it, at a number in their rows; and some that do so in their
build. Elsewhere they answer as `bases:mlp`."""

import ctypes
import os
import threading
from pathlib import Path
from typing import Final

import torch
from bases import MLP, drawn
from torch import Tensor, nn

SEGFAULT: Final = 1001.0
EXIT: Final = 1002.0
SLEEP: Final = 1003.0
HOLD: Final = 1004.0
"""Never lets go of Python's lock either."""
ALLOCATE: Final = 1005.0
CHUNK: Final = 64 << 20


class Deadly(MLP):
    def forward(self, x: Tensor) -> Tensor:
        for number, deed in DEEDS.items():
            if bool((x == number).any()):
                deed()
        return super().forward(x)


def segfault() -> None:
    ctypes.string_at(0)


def leave() -> None:
    os._exit(3)


def sleep() -> None:
    threading.Event().wait()


def hold() -> None:
    ctypes.PyDLL(None).pause()


def allocate() -> None:
    taken: list[Tensor] = []
    while True:
        taken.append(torch.ones(CHUNK, dtype=torch.uint8))


DEEDS: Final = {SEGFAULT: segfault, EXIT: leave, SLEEP: sleep, HOLD: hold, ALLOCATE: allocate}


def deadly() -> nn.Module:
    return drawn(Deadly(), 0)


def segfaulting(unless: str = "") -> nn.Module:
    """Unless there is a file of that name."""
    if not (unless and Path(unless).exists()):
        segfault()
    return deadly()


def hanging() -> nn.Module:
    """Its build takes Python's lock and never ends."""
    hold()
    return deadly()


def sleeping() -> nn.Module:
    sleep()
    return deadly()


def doubling() -> nn.Module:
    """Changes what torch makes from now on, in its process."""
    torch.set_default_dtype(torch.float64)
    return deadly()


def mumbling() -> nn.Module:
    raise OSError("no file \udcff")


def gated(gate: str) -> nn.Module:
    """Is built once the gate can be read."""
    Path(gate).read_bytes()
    return deadly()
