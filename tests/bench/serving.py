"""minilm over HTTP, beside the least that it can cost: its bare batched forward, and an echo over HTTP.

16 adapters of rank 16 on all linear layers, texts of 16 words, 64 callers at once; one thread in every process.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import torch
from transformers import AutoModel

from tests.bench.client import post_all
from tests.bench.figures import Figure, medians
from tests.e2e.process import ROOT, Service, free_port, until

ADAPTERS, CALLERS, ROUNDS = 16, 64, 5
REQUESTS = 640  # of one round
TOKENS = 18  # of the text below, with the two that the tokenizer adds
TEXT = "the ship leaves a harbour at dawn and comes back with bread for the long winter"
LORA = {"peft_type": "LORA", "r": 16, "lora_alpha": 32, "target_modules": "all-linear", "init_lora_weights": False}
GOAL = 1 / 0.75


def serving(directory: Path) -> Iterator[Figure]:
    """Seconds per request. The limit is the forward's time per row and the echo's per request, one after the other."""
    models = directory.parent.resolve()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, _service(Path(folder), models) as service, _echo() as echo_port:
        for dtype in (torch.float32, torch.bfloat16):
            model = str(dtype).removeprefix("torch.")
            adapters = _host(service, model)
            bodies = {"base": [_body(None)], "adapters": [_body(adapter) for adapter in adapters]}
            works: dict[str, Callable[[], object]] = {
                "echo": partial(post_all, echo_port, "/echo", bodies["adapters"], CALLERS, REQUESTS),
                "forward": _forward(models / "minilm", dtype),
                **{who: partial(_ask, service, model, sent) for who, sent in bodies.items()},
            }
            for work in works.values():
                work()
            taken = {name: seconds / REQUESTS for name, seconds in medians(works, ROUNDS).items()}
            limit = taken["forward"] + taken["echo"]
            for who, named in (("adapters", f"{ADAPTERS} adapters"), ("base", "no adapter")):
                work = f"minilm {model} over HTTP, {CALLERS} callers, {named}"
                yield Figure(work, "its bare forward and an echo", taken[who], limit, GOAL)


@contextmanager
def _service(folder: Path, models: Path) -> Generator[Service]:
    service = Service(folder, models)
    try:
        yield service.start().wait_until_ready()
    finally:
        service.close()


@contextmanager
def _echo() -> Generator[int]:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "tests.bench.echo:app", "--port", str(port), "--no-access-log"]
    with subprocess.Popen(
        [*command, "--log-level", "warning"], cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}
    ) as process:
        try:
            until(partial(_answers, port), lambda: process.poll() is None)
            yield port
        finally:
            process.terminate()


def _answers(port: int) -> bool:
    try:
        return httpx.post(f"http://127.0.0.1:{port}/echo", json={}).is_success
    except httpx.TransportError:
        return False


def _host(service: Service, model: str) -> list[str]:
    service.register(model, {"kind": "huggingface", "path": "minilm"}, dtype=model)
    names = [f"{model}-{n}" for n in range(ADAPTERS)]
    for seed, name in enumerate(names):
        body = {"name": name, "config": LORA, "seed": seed}
        service.http.post(f"/models/{model}/adapters", json=body).raise_for_status()
    return names


def _body(adapter: str | None) -> bytes:
    return json.dumps({"adapter": adapter, "inputs": {"text": [TEXT]}, "outputs": ["embedding"]}).encode()


def _ask(service: Service, model: str, bodies: Sequence[bytes]) -> None:
    post_all(service.port, f"/models/{model}/infer", bodies, CALLERS, REQUESTS)


def _forward(directory: Path, dtype: torch.dtype) -> Callable[[], None]:
    """As many rows as there are requests, in batches of one for each caller."""
    module = AutoModel.from_pretrained(directory, dtype=dtype).eval()
    ids = torch.randint(1000, 20000, (CALLERS, TOKENS))
    mask = torch.ones_like(ids)

    def forward() -> None:
        with torch.inference_mode():
            for _ in range(REQUESTS // CALLERS):
                module(input_ids=ids, attention_mask=mask)

    return forward
