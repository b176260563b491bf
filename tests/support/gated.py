"""Base models that stop where a test tells them to, and ones that misbehave; for `python` sources (`gated:mlp`)."""

import threading

import torch
from bases import drawn
from torch import Tensor, nn

TIMEOUT_S = 120.0


class Gate:
    """Open until a test shuts it. Whoever comes then says so and waits until it is opened again."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._open = threading.Event()
        self._open.set()
        self._arrived = threading.Semaphore(0)
        self.passed = 0

    def shut(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    def pass_through(self) -> None:
        if not self._open.is_set():
            self._arrived.release()
            if not self._open.wait(TIMEOUT_S):
                raise TimeoutError("nobody opened the gate")
        self.passed += 1

    def wait_for_arrival(self) -> None:
        assert self._arrived.acquire(timeout=TIMEOUT_S), "nobody came to the gate"

    def has_arrival(self, within_s: float) -> bool:
        """Whether somebody came who was not waited for yet, or comes by then."""
        return self._arrived.acquire(timeout=within_s)


GATES: dict[str, Gate] = {}


def gate_named(name: str) -> Gate:
    return GATES.setdefault(name, Gate(name))


class GatedMLP(nn.Module):
    """Rows of 4 numbers in, rows of 3 out."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.second = nn.Linear(8, 3)
        self._gate = gate

    def forward(self, x: Tensor) -> Tensor:
        self._gate.pass_through()
        return self.second(torch.relu(self.first(x)))


def mlp(gate: str) -> nn.Module:
    """Its forwards pass the gate."""
    return drawn(GatedMLP(gate_named(gate)), 0)


class Both(nn.Module):
    """Rows of 4 numbers in, rows of 3 out, and of 8 from its first layer."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.second = nn.Linear(8, 3)
        self._gate = gate

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        self._gate.pass_through()
        hidden: Tensor = self.first(x)
        return {"output": self.second(torch.relu(hidden)), "hidden": hidden}


def both(gate: str) -> nn.Module:
    return drawn(Both(gate_named(gate)), 0)


class Choosy(GatedMLP):
    """Refuses negative numbers, and more rows at once than its memory holds."""

    def __init__(self, gate: Gate, room: int) -> None:
        super().__init__(gate)
        self.room = room
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        if bool((x < 0).any()):
            raise RuntimeError("nothing below zero")
        if len(x) > self.room:
            torch.empty(2**60, dtype=torch.uint8)
        return super().forward(x)


def choosy(gate: str, room: int = 64) -> nn.Module:
    return drawn(Choosy(gate_named(gate), room), 0)


def slow(gate: str) -> nn.Module:
    """Its build passes the gate."""
    gate_named(gate).pass_through()
    return drawn(GatedMLP(Gate("of nobody")), 0)


class Wayward(nn.Module):
    """Rows of 4 numbers in; what else comes out depends on `mode`."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self._mode = mode

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y: Tensor = self.linear(x)
        if self._mode == "exits" and bool((x < 0).any()):
            raise SystemExit("a module that wants to end the process")
        return {"y": y, "total": y.sum(), "table": torch.ones(5, 2)} if self._mode == "whole" else {"y": y}


class Detour(nn.Module):
    """Has a layer that its forward passes by."""

    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Linear(4, 3)
        self.unused = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x)


def detour() -> nn.Module:
    return drawn(Detour(), 0)


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        return self.linear(x) * scale


def scaled() -> nn.Module:
    """Takes a number beside its rows, so that its inputs have no common leading dimension."""
    return drawn(Scaled(), 0)


def wayward(mode: str) -> nn.Module:
    return drawn(Wayward(mode), 0)


def fails_late(gate: str) -> nn.Module:
    """Its build passes the gate, and fails."""
    gate_named(gate).pass_through()
    raise RuntimeError("no weights today")


def exits() -> nn.Module:
    raise SystemExit("a factory that wants to end the process")


_weights = iter(range(1000))


def other_weights_each_time() -> nn.Module:
    return drawn(Wayward("plain"), next(_weights))
