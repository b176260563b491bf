"""Base models that take exactly as long to load, or to answer, as a test wants."""

import os
from pathlib import Path

from bases import MLP, mlp
from torch import Tensor, nn


def gated(gate: str) -> nn.Module:
    """The factory: waits until the gate opens."""
    Path(gate).read_bytes()
    return mlp()


class GatedMLP(MLP):
    def __init__(self, gate: Path) -> None:
        super().__init__()
        self._gate = gate

    def forward(self, x: Tensor) -> Tensor:
        self._gate.read_bytes()
        return super().forward(x)


def gated_forward(gate: str) -> nn.Module:
    """The factory of a model each of whose forwards waits until the gate opens."""
    return GatedMLP(Path(gate))


class Gate:
    """A file that can be read at once while open; closed, a pipe that makes its reader wait."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.touch()

    def close(self) -> None:
        self.path.unlink()
        os.mkfifo(self.path)

    def open(self) -> None:
        """Lets the one that waits through, and all that come later. Waits itself until somebody does."""
        self.path.write_bytes(b"")
        self.path.unlink()
        self.path.touch()
