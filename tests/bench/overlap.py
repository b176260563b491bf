"""64 callers of smollm2, each of whom asks for the next text once the last one has ended, beside the same texts in
batches: `generate` for 64 at a time, none of which begins before all of the last batch have ended.

Lengths are mixed as in traffic: exponential, so that most answers are short and few are long. Float32 for both.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.bench.figures import Figure, medians
from tests.bench.writer import PATIENCE_S, Writer, smollm2, words

CALLERS, TEXTS, ROUNDS = 64, 128, 1
PROMPT, ANSWER, LONGEST = 16, 16, 96
"""Tokens: what prompts and answers have on average, and the most that either has."""
GOAL = 1 / 3


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt, and of how many tokens its answer is."""

    prompt: str
    tokens: int


def overlapping(directory: Path) -> Iterator[Figure]:
    """Seconds until all texts are written."""
    texts = _texts()
    with smollm2(directory, "float32") as writer:
        generate = _generate(directory)
        works = {"ours": lambda: _ask(writer, texts), "batches": lambda: generate(texts)}
        taken = medians(works, ROUNDS)
    tokens = sum(asked.tokens for asked in texts)
    work = f"{TEXTS} texts of {CALLERS} callers, {tokens / TEXTS:.0f} tokens each"
    yield Figure(work, f"generate, {CALLERS} at a time", taken["ours"], taken["batches"], GOAL)


def _texts() -> Sequence[Asked]:
    random = Random(0)

    def length(mean: int) -> int:
        return min(LONGEST, 1 + round(random.expovariate(1 / mean)))

    return [Asked(words(length(PROMPT), seed), length(ANSWER)) for seed in range(TEXTS)]


def _ask(writer: Writer, texts: Sequence[Asked]) -> None:
    waiting, left, over = iter(texts), threading.Semaphore(0), threading.Lock()

    def ask_next(_: object = None) -> None:
        with over:
            asked = next(waiting, None)
        if asked is None:
            left.release()
        else:
            writer.write(asked.prompt, asked.tokens).add_done_callback(ask_next)

    for _ in range(CALLERS):
        ask_next()
    for _ in range(CALLERS):
        assert left.acquire(timeout=PATIENCE_S)


def _generate(directory: Path) -> Any:
    model: Any = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(directory, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token

    def generate(texts: Sequence[Asked]) -> None:
        for start in range(0, len(texts), CALLERS):
            batch = texts[start : start + CALLERS]
            rows = tokenizer([asked.prompt for asked in batch], return_tensors="pt", padding=True)
            longest = max(asked.tokens for asked in batch)
            with torch.inference_mode():
                model.generate(**rows, max_new_tokens=longest, do_sample=False, eos_token_id=None)

    return generate
