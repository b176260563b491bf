"""Texts of smollm2 that begin, and rows that are asked for, while others are being written; and prompts that begin as
another one did. A *step* is what the running texts take for a token each, measured just before."""

import math
import statistics
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import torch

from tests.bench.figures import Figure, seconds
from tests.bench.writer import PATIENCE_S, Clock, Writer, smollm2, words

RUNNING, PROMPT, SEEN, ROUNDS, ASKED, PREFIX = 16, 48, 8, 5, 40, 512
LONGEST = 4000
STEPS, PREFIX_GOAL = 2, 0.1
DTYPE = "auto"
SEEDS = count(1)


def writing(directory: Path) -> Iterator[Figure]:
    with smollm2(directory, DTYPE) as writer:
        yield _beginning(writer)
        yield _asking(writer)
        yield _sharing(writer)


def _beginning(writer: Writer) -> Figure:
    own = statistics.median(_first_token(writer, words(PROMPT, next(SEEDS))) for _ in range(ROUNDS))
    waits: list[float] = []
    limits: list[float] = []
    with _running(writer, RUNNING - 1) as clock:
        for _ in range(ROUNDS):
            limits.append(STEPS * _step(clock) + own)
            waits.append(_first_token(writer, words(PROMPT, next(SEEDS))))
    name = f"first token beside {RUNNING - 1} running texts"
    peer = f"{STEPS} steps and its own prefill"
    return Figure(name, peer, statistics.median(waits), statistics.median(limits), 1.0)


def _asking(writer: Writer) -> Figure:
    ids = torch.randint(0, 1000, (1, 16), generator=torch.Generator().manual_seed(0))
    with _running(writer, RUNNING) as clock:
        step = _step(clock)
        waits = [seconds(lambda: writer.infer({"input_ids": ids}, ["logits"]).result(PATIENCE_S)) for _ in range(ASKED)]
    worst = sorted(waits)[math.ceil(0.99 * ASKED) - 1]
    return Figure(f"/infer of 16 tokens beside {RUNNING} texts, p99", "a step", worst, step, STEPS)


def _sharing(writer: Writer) -> Figure:
    firsts: list[float] = []
    others: list[float] = []
    for _ in range(ROUNDS):
        prefix = words(PREFIX + 8, next(SEEDS))
        firsts.append(_first_token(writer, f"{prefix} {words(8, next(SEEDS))}"))
        others.append(_first_token(writer, f"{prefix} {words(8, next(SEEDS))}"))
    name = f"first token behind {PREFIX} tokens in memory"
    peer = "the first text with these"
    return Figure(name, peer, statistics.median(others), statistics.median(firsts), PREFIX_GOAL)


def _first_token(writer: Writer, text: str) -> float:
    clock, begun = Clock(), time.perf_counter()
    writer.write(text, 1, clock).result(PATIENCE_S)
    return clock[0] - begun


@contextmanager
def _running(writer: Writer, texts: int) -> Generator[Clock]:
    """So many texts are being written, none of which ends."""
    clocks = [Clock() for _ in range(texts)]
    for clock in clocks:
        writer.write(words(PROMPT, next(SEEDS)), LONGEST, clock)
    while not all(clocks):
        time.sleep(0.01)
    try:
        yield clocks[0]
    finally:
        writer.cancel_all()


def _step(clock: Clock) -> float:
    """The median of the next ones."""
    seen = len(clock)
    while len(clock) < seen + SEEN:
        time.sleep(0.01)
    return statistics.median(clock.gaps[seen:])
