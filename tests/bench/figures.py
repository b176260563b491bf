"""How a figure is taken and printed: medians of several rounds, in turn, so that a noisy machine is noisy for all."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. `ours` and `peer` are seconds; `goal` bounds the ratio ours / peer."""

    work: str
    peer_name: str
    ours: float
    peer: float
    goal: float

    def __str__(self) -> str:
        ratio = self.ours / self.peer
        verdict = "met" if ratio <= self.goal else "MISSED"
        return (
            f"{self.work:<52} {self.ours * 1000:>10.2f} ms   {self.peer_name:<34} {self.peer * 1000:>10.2f} ms   "
            f"x{ratio:<8.3f} goal x{self.goal:<6g} {verdict}"
        )


@dataclass(frozen=True, slots=True)
class Count:
    """One line of the table that is no time: how many of something there were, and how many there may be."""

    work: str
    ours: int
    goal: int
    note: str

    def __str__(self) -> str:
        verdict = "met" if self.ours <= self.goal else "MISSED"
        return f"{self.work:<52} {self.ours:>10}      {self.note:<69} goal {self.goal:<7} {verdict}"


@dataclass(frozen=True, slots=True)
class Share:
    """One line of the table that is a part of a whole, which is to be at least its goal."""

    work: str
    ours: float
    note: str
    goal: float

    def __str__(self) -> str:
        verdict = "met" if self.ours >= self.goal else "MISSED"
        return f"{self.work:<52} {self.ours:>10.1%}      {self.note:<69} goal {self.goal:<7.1%} {verdict}"


def medians(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds of each work, its median over `rounds`; the works take turns within a round."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            taken[name].append(seconds(work))
    return {name: statistics.median(times) for name, times in taken.items()}


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
