"""A base model whose forwards say which process runs them, and wait while a test wants it."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from bases import MLP, TIMEOUT_S, drawn
from e2e.process import until
from torch import Tensor, nn

STUCK = 1003.0
"""A row that holds this number is never answered."""
LONG_S = 0.5
"""A slow forward's: long enough for others to wait behind it."""


class Watched(MLP):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = Folder(folder)

    def forward(self, x: Tensor) -> Tensor:
        is_stuck = bool((x == STUCK).any())
        self._folder.write(os.getpid(), len(x))
        give_up_at = time.monotonic() + TIMEOUT_S
        while self._folder.is_shut or is_stuck:
            if time.monotonic() > give_up_at:
                raise TimeoutError("nobody let it go on")
            time.sleep(0.005)
        return super().forward(x)


class Slow(MLP):
    def forward(self, x: Tensor) -> Tensor:
        time.sleep(LONG_S)
        return super().forward(x)


@dataclass(frozen=True, slots=True)
class Folder:
    """What the model's processes and its test share."""

    path: Path

    @property
    def _shut(self) -> Path:
        return self.path / "shut"

    @property
    def _begun(self) -> Path:
        return self.path / "begun"

    @property
    def is_shut(self) -> bool:
        return self._shut.exists()

    def write(self, pid: int, rows: int) -> None:
        with self._begun.open("a") as file:
            file.write(f"{pid} {rows}\n")

    def shut(self) -> None:
        """From now on forwards begin and wait."""
        self._begun.unlink(missing_ok=True)
        self._shut.touch()

    def open(self) -> None:
        self._shut.unlink(missing_ok=True)

    @property
    def busy(self) -> tuple[int, ...]:
        """Processes that have begun a forward since it was shut, in their order."""
        written = self._begun.read_text() if self._begun.exists() else ""
        return tuple(dict.fromkeys(int(line.split()[0]) for line in written.splitlines()))

    def wait_for_one(self) -> int:
        return until(lambda: self.busy)[0]


def watched(folder: str) -> nn.Module:
    return drawn(Watched(Path(folder)), 0)


def slow() -> nn.Module:
    return drawn(Slow(), 0)
