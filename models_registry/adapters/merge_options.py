"""How adapters are to be composed: the method, and what it asks for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from models_registry.records import Fault

CompositionMethod: TypeAlias = Literal["cat", "svd", "linear", "ties", "dare_linear", "dare_ties"]
COMPOSITION_METHODS: Final[tuple[CompositionMethod, ...]] = get_args(CompositionMethod)

OPTIONS: Final[Mapping[CompositionMethod, tuple[str, ...]]] = {
    "cat": (),
    "svd": ("rank",),
    "linear": (),
    "ties": ("density",),
    "dare_linear": ("density", "seed"),
    "dare_ties": ("density", "seed"),
}


@dataclass(frozen=True, slots=True)
class MergeOptions:
    """`cat` and `svd` work on the adapters' products BA, the others on A and B apart, which is an approximation.

    `cat` is the weighted sum itself, its rank the sum of all ranks; `svd` is the nearest one of `rank` (None: the
    greatest of the ranks). `linear` adds; `ties` keeps the `density` of greatest numbers and what agrees in sign;
    `dare_*` keeps a random `density`, the same one for the same `seed`, and scales it up.
    """

    method: CompositionMethod
    density: float | None = None
    rank: int | None = None
    seed: int | None = None

    @property
    def elementwise(self) -> bool:
        """Whether A and B are taken apart, number by number, which only works for equal ranks."""
        return self.method not in ("cat", "svd")

    @property
    def unused(self) -> tuple[str, ...]:
        """The options that are given but that the method has no use for."""
        given = {"density": self.density, "rank": self.rank, "seed": self.seed}
        return tuple(name for name, value in given.items() if value is not None and name not in OPTIONS[self.method])

    def faults(self) -> Iterator[Fault]:
        """Everything that is wrong with it by itself."""
        if self.method not in COMPOSITION_METHODS:
            yield Fault(("method",), f"must be one of {', '.join(COMPOSITION_METHODS)}, not {self.method!r}")
        elif "density" in OPTIONS[self.method] and self.density is None:
            yield Fault(("density",), f"{self.method} needs one, greater than 0 and at most 1")
        if self.density is not None and not 0 < self.density <= 1:
            yield Fault(("density",), f"must be greater than 0 and at most 1, not {self.density}")
        if self.rank is not None and self.rank <= 0:
            yield Fault(("rank",), f"must be greater than 0, not {self.rank}")
        if self.seed is not None and not 0 <= self.seed < 2**63:
            yield Fault(("seed",), f"must be at least 0 and less than 2**63, not {self.seed}")
