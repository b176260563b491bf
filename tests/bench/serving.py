"""minilm over HTTP, beside the least that it can cost (its bare batched forward, and an echo over HTTP), and what a
script of one's own makes of it: FastAPI, PEFT and a lock.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from transformers import AutoModel

from tests.bench.client import post_all
from tests.bench.figures import Figure, medians
from tests.bench.minilm import ADAPTERS, CALLERS, TOKENS, ask, host, inject, request
from tests.bench.processes import our_service, peer

ROUNDS, REQUESTS = 5, 384  # of one round
PEFT_REQUESTS = 96  # it takes ten times as long
LONE_REQUESTS = 48  # of one who has no company
LIMIT_GOAL, LONE_GOAL = 1 / 0.9, 1 / 2
PEFT = "FastAPI, PEFT and a lock, float32"
PEFT_GOALS = {torch.float32: 1 / 9, torch.bfloat16: 1 / 20}


def serving(directory: Path) -> Iterator[Figure]:
    """Seconds per request. The limit is the forward's time per row and the echo's per request, one after the other."""
    models = directory.parent.resolve()
    torch.set_num_threads(1)
    environment = {"BENCH_MODEL": str(models / "minilm"), "BENCH_ADAPTERS": str(ADAPTERS)}
    with (
        our_service(models) as service,
        peer("tests.bench.echo:app") as echo,
        peer("tests.bench.peft_server:app", environment) as peft,
    ):
        for dtype, peft_goal in PEFT_GOALS.items():
            model = str(dtype).removeprefix("torch.")
            host(service, model, model)
            bodies = inject(service, model, [f"{model}-{number}" for number in range(ADAPTERS)])
            theirs = [request(f"a{number}") for number in range(ADAPTERS)]
            works: dict[str, Callable[[], object]] = {
                "echo": partial(post_all, echo, "/echo", bodies, CALLERS, REQUESTS),
                "peft": partial(post_all, peft, "/infer", theirs, CALLERS, PEFT_REQUESTS),
                "forward": _forward(models / "minilm", dtype),
                "adapters": partial(ask, service, model, bodies, REQUESTS),
                "base": partial(ask, service, model, [request(None)], REQUESTS),
                "lone": partial(ask, service, model, bodies, LONE_REQUESTS, 1),
                "lone peft": partial(post_all, peft, "/infer", theirs, 1, LONE_REQUESTS),
            }
            for work in works.values():
                work()
            taken = {name: seconds / REQUESTS for name, seconds in medians(works, ROUNDS).items()}
            limit = taken["forward"] + taken["echo"]
            work = f"minilm {model} over HTTP, {CALLERS} callers"
            ours = f"{work}, {ADAPTERS} adapters"
            yield Figure(ours, "its bare forward and an echo", taken["adapters"], limit, LIMIT_GOAL)
            yield Figure(f"{work}, no adapter", "its bare forward and an echo", taken["base"], limit, LIMIT_GOAL)
            in_peft = taken["peft"] * REQUESTS / PEFT_REQUESTS
            yield Figure(ours, PEFT, taken["adapters"], in_peft, peft_goal)
            lone, lone_peft = (taken[name] * REQUESTS / LONE_REQUESTS for name in ("lone", "lone peft"))
            yield Figure(f"minilm {model} over HTTP, a lone caller", PEFT, lone, lone_peft, LONE_GOAL)


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
