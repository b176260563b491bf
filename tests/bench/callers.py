"""64 callers of smollm2 who come and go: texts of mixed lengths, each caller's next one once the last is there.

Beside the same texts by `generate`, batch after batch: what waits and has the same parameters shares one.
"""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path

import torch

from models_registry.base_models.opening import open_spec
from models_registry.base_models.sources import SourcePolicy
from models_registry.inputs.values import Inputs
from models_registry.records import HuggingFaceSource
from service.protocol.types import HostAnswer
from tests.bench.figures import Figure
from tests.bench.writer import Writer, smollm2, taking_turns, words

CALLERS, TEXTS = 64, 96
PROMPTS, LENGTHS = (8, 24, 48), (2, 4, 6, 8, 12, 16, 24, 32)
GOAL = 1 / 3
DTYPE = "float32"


def calling(directory: Path) -> Iterator[Figure]:
    """Seconds per token."""
    sizes = list(zip(taking_turns(PROMPTS, TEXTS), taking_turns(LENGTHS, TEXTS), strict=True))
    asked = [(words(prompt, number), tokens) for number, (prompt, tokens) in enumerate(sizes)]
    tokens = sum(length for _, length in asked)
    with smollm2(directory, DTYPE) as writer:
        ours = _engine(writer, asked)
    theirs = _batches(directory, asked)
    name = f"{CALLERS} callers, {TEXTS} texts of {min(LENGTHS)} to {max(LENGTHS)} tokens, a token"
    yield Figure(name, "generate, batch after batch", ours / tokens, theirs / tokens, GOAL)


def _engine(writer: Writer, asked: list[tuple[str, int]]) -> float:
    begun, todo = time.perf_counter(), iter(asked)
    running: set[Future[HostAnswer]] = {writer.write(*next(todo)) for _ in range(CALLERS)}
    while running:
        done, running = wait(running, return_when=FIRST_COMPLETED)
        for one in done:
            one.result()
            if (following := next(todo, None)) is not None:
                running.add(writer.write(*following))
    return time.perf_counter() - begun


def _batches(directory: Path, asked: list[tuple[str, int]]) -> float:
    path = directory.resolve()
    spec = open_spec(HuggingFaceSource(str(path)), None, SourcePolicy((path.parent,), ()))
    module = spec.build(torch.device("cpu"), torch.float32)
    begun, waiting, todo = time.perf_counter(), asked[:CALLERS], asked[CALLERS:]
    while waiting:
        ((length, _),) = Counter(length for _, length in waiting).most_common(1)
        batch = [text for text, tokens in waiting if tokens == length]
        parameters = {"max_new_tokens": length, "ignore_eos": True}
        with torch.inference_mode():
            spec.generate(module, Inputs(texts=tuple(batch)), parameters, lambda: False)
        left = [one for one in waiting if one[1] != length]
        waiting, todo = left + todo[: len(batch)], todo[len(batch) :]
    return time.perf_counter() - begun
