"""Base models that take exactly as long to load, or to answer, as a test wants."""

import os
import time
from pathlib import Path

from bases import MLP, mlp
from e2e.process import until
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


class TurnedMLP(MLP):
    def __init__(self, turnstile: Path) -> None:
        super().__init__()
        self._turnstile = turnstile

    def forward(self, x: Tensor) -> Tensor:
        while not Turnstile(self._turnstile).takes():
            time.sleep(0.002)
        return super().forward(x)


def turned_forward(turnstile: str) -> nn.Module:
    """The factory of a model whose forwards pass a turnstile one by one."""
    return TurnedMLP(Path(turnstile))


class Turnstile:
    """A folder. While it is closed, each forward takes a token out of it or waits for one."""

    def __init__(self, path: Path) -> None:
        self._open, self._token = path / "open", path / "token"

    def takes(self) -> bool:
        """Whether a forward passes."""
        if self._open.exists():
            return True
        try:
            self._token.unlink()
        except FileNotFoundError:
            return False
        return True

    def close(self) -> None:
        self._open.unlink()

    def open(self) -> None:
        self._open.touch()

    def let_one_pass(self) -> None:
        """Returns once a forward has passed."""
        self._token.touch()
        until(lambda: not self._token.exists())
