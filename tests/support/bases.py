"""Tiny base models, for whatever needs one: factories that a `python` source can name (`bases:mlp`)."""

import time
from pathlib import Path

import torch
from torch import Tensor, nn

TIMEOUT_S = 120.0


class MLP(nn.Module):
    """Rows of 4 numbers in, rows of 3 out."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.second = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x)))


class DummyModel(nn.Module):
    """The model of PEFT's guide: token ids in, rows of 10 numbers out for each."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 10)
        self.linear = nn.Linear(10, 10)
        self.lm_head = nn.Linear(10, 10)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.lm_head(self.linear(self.embedding(input_ids)))


class Detour(nn.Module):
    """Rows of 4 numbers in and out; `spare` is only entered with `detour`."""

    def __init__(self) -> None:
        super().__init__()
        self.main = nn.Linear(4, 4)
        self.spare = nn.Linear(4, 4)

    def forward(self, x: Tensor, detour: Tensor | None = None) -> Tensor:
        return self.main(x) if detour is None else self.main(x) + self.spare(detour)


class Folding(nn.Module):
    """Rows of time steps, which `inner` sees one by one: no row is a row there. `outer` sees rows again."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.outer = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        steps = torch.tanh(self.inner(x.flatten(0, 1))).unflatten(0, x.shape[:2])
        return self.outer(steps.mean(1))


class Functional(nn.Module):
    """Rows of 4 numbers in and out; `read` is never called, only its weight is used."""

    def __init__(self) -> None:
        super().__init__()
        self.called = nn.Linear(4, 4)
        self.read = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.called(x) @ self.read.weight.T


class Splitting(nn.Module):
    """Rows of 4 numbers in and out, which `linear` sees four at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.linear(part) for part in x.split(4)])


class Wide(nn.Module):
    """Rows of `width` numbers in and out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


class Exiting(MLP):
    def forward(self, x: Tensor) -> Tensor:
        if bool((x < 0).any()):
            raise SystemExit("a module that wants to end the process")
        return super().forward(x)


class Waiting(MLP):
    """Whichever process it is in: its forwards write down in the folder's `arrived` how many rows they have, and wait
    while there is a file `shut` beside it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._arrived, self._shut = folder / "arrived", folder / "shut"

    def forward(self, x: Tensor) -> Tensor:
        with self._arrived.open("a") as file:
            file.write(f"{len(x)}\n")
        until = time.monotonic() + TIMEOUT_S
        while self._shut.exists():
            if time.monotonic() > until:
                raise TimeoutError("nobody opened the gate")
            time.sleep(0.002)
        return super().forward(x)


def drawn(module: nn.Module, seed: int) -> nn.Module:
    """Its numbers are drawn by a generator of its own: torch's is shared by all that other engines of a test build."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            bound = parameter.shape[-1] ** -0.5
            parameter.uniform_(-bound, bound, generator=generator)
    return module


def wide(width: int) -> nn.Module:
    return drawn(Wide(width), 0)


def mlp(seed: int = 0) -> nn.Module:
    return drawn(MLP(), seed)


def stacked(layers: int) -> nn.Module:
    """Its modules' names are numbers from 0 on."""
    return drawn(nn.Sequential(*(nn.Linear(2, 2) for _ in range(layers))), 0)


def waiting(folder: str) -> nn.Module:
    return drawn(Waiting(Path(folder)), 0)


def exiting() -> nn.Module:
    """Raises what would end a process, where a number is negative."""
    return drawn(Exiting(), 0)


def dummy(seed: int = 0) -> nn.Module:
    return drawn(DummyModel(), seed)


def detour(seed: int = 0) -> nn.Module:
    return drawn(Detour(), seed)


def folding(seed: int = 0) -> nn.Module:
    return drawn(Folding(), seed)


def functional(seed: int = 0) -> nn.Module:
    return drawn(Functional(), seed)


def splitting(seed: int = 0) -> nn.Module:
    return drawn(Splitting(), seed)


def broken() -> nn.Module:
    raise RuntimeError("the factory has no weights today")
