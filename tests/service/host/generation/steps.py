"""Decode steps of a host that writes, which wait for a test."""

import threading
from collections.abc import Callable, Sequence

import pytest
from engines import TIMEOUT_S
from torch import Tensor

from service.host.generation.stepper import Stepper

PROMPTS = ("a b c", "d e f g h", "i", "j k l m", "n o p q r s t", "u v")


class Steps:
    """Decode steps that wait for the test, and how many rows each had."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: list[int] = []
        self.fail: Callable[[Sequence[int], Sequence[int]], None] = lambda ids, positions: None
        self._open = threading.Event()
        self._arrived = threading.Event()
        decode = Stepper.decode

        def held(stepper: Stepper, ids: Sequence[int], positions: Sequence[int]) -> Tensor:
            self._arrived.set()
            assert self._open.wait(TIMEOUT_S)
            self.rows.append(len(ids))
            self.fail(ids, positions)
            return decode(stepper, ids, positions)

        monkeypatch.setattr(Stepper, "decode", held)

    def wait_for_one(self) -> None:
        assert self._arrived.wait(TIMEOUT_S)

    def let_go(self) -> None:
        self._open.set()
