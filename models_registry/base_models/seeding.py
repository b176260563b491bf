"""Numbers that a build makes up, the same ones each time."""

from collections.abc import Generator
from contextlib import contextmanager

import torch

SEED = 0


@contextmanager
def seeded() -> Generator[None]:
    """What is drawn at random inside is the same in every build; the global generator is as before afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)
        yield
