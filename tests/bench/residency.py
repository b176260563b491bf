"""minilm in the engine, without HTTP: more adapters than fit, many registered, one greedy caller, trouble beside good
traffic. Texts of 16 words, rank 16 on all linear layers, float32.
"""

import asyncio
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from models_registry.errors import Invalid
from models_registry.inputs.values import Inputs
from models_registry.records import HuggingFaceSource
from service.front.requests import InferRequest, NewAdapter
from service.protocol.types import HostLimits
from tests.bench.figures import Figure, medians
from tests.support.engines import TIMEOUT_S, Running

TEXT = "the ship leaves a harbour at dawn and comes back with bread for the long winter"
LORA = {"peft_type": "LORA", "r": 16, "lora_alpha": 32, "target_modules": "all-linear", "init_lora_weights": False}
SMALL = {"peft_type": "LORA", "r": 1, "target_modules": ["encoder.layer.0.attention.self.query"]}
REGISTERED, IN_USE, FEW = 1000, 64, 16
CALLERS, REQUESTS, ROUNDS = 64, 256, 3
CORRUPT, SAMPLES = 100, 600


def residing(directory: Path) -> Iterator[Figure]:
    torch.set_num_threads(1)
    models = directory.parent.resolve()
    with _engine(models) as roomy:
        names = _create(roomy, IN_USE)
        one = roomy.engine.adapters.find(names[0]).residency[1].bytes
        with _engine(models, max_resident_bytes=IN_USE // 4 * one) as tight:
            _create(tight, IN_USE)
            yield from _cliff(roomy, tight, names)
        yield from _crowd(roomy, names)
        yield from _greed(roomy, names)
        yield from _trouble(roomy, names)


def _cliff(roomy: Running, tight: Running, names: Sequence[str]) -> Iterator[Figure]:
    for rows, callers in ((1, CALLERS), (1, 4 * CALLERS)):
        works = {
            "roomy": lambda rows=rows, callers=callers: _ask_all(roomy, names, callers, REQUESTS, rows),
            "tight": lambda rows=rows, callers=callers: _ask_all(tight, names, callers, REQUESTS, rows),
        }
        taken = {name: seconds / REQUESTS for name, seconds in _warm_medians(works).items()}
        work = f"{IN_USE} adapters, {IN_USE // 4} fit, {callers} callers, {rows} rows each"
        yield Figure(work, "all of them fit", taken["tight"], taken["roomy"], 2.0)


def _crowd(running: Running, names: Sequence[str]) -> Iterator[Figure]:
    for number in range(REGISTERED - IN_USE):
        running.engine.adapters.create(NewAdapter("m", f"idle{number}", SMALL, seed=number))
    works = {
        "many": lambda: _ask_all(running, names, CALLERS, REQUESTS),
        "few": lambda: _ask_all(running, names[:FEW], CALLERS, REQUESTS),
    }
    taken = {name: seconds / REQUESTS for name, seconds in _warm_medians(works).items()}
    yield Figure(f"{REGISTERED} registered, {IN_USE} in use", f"{FEW} in use", taken["many"], taken["few"], 1.1)


def _greed(running: Running, names: Sequence[str]) -> Iterator[Figure]:
    """Four callers, alone, and beside forty who all want one other adapter."""
    alone = [_p99(running, names[1:5], 4) for _ in range(ROUNDS)]
    with _traffic(running, names[:1], 40):
        beside = [_p99(running, names[1:5], 4) for _ in range(ROUNDS)]
    work = "p99 of 4 callers, another with 10x their load"
    yield Figure(work, "theirs alone", sorted(beside)[ROUNDS // 2], sorted(alone)[ROUNDS // 2], 2.0)


def _trouble(running: Running, names: Sequence[str]) -> Iterator[Figure]:
    """Good traffic, alone, and beside corrupt uploads and a blob that doesn't come."""
    released = threading.Event()
    running.create("slow", LORA, seed=REGISTERED)  # with bytes of its own
    running.engine.adapters.unload("m", "slow")
    stuck = running.engine.adapters.find_version("slow").digest
    read = running.store.get

    def read_slowly(digest: str) -> bytes:
        if digest == stuck:
            released.wait(TIMEOUT_S)
        return read(digest)

    running.store.get = read_slowly
    alone, beside = list[float](), list[float]()
    slow = running.ask_for(_request("slow"))
    for _ in range(ROUNDS):
        alone.append(_p99(running, names, 8))
        with ThreadPoolExecutor(4) as uploaders:
            uploads = [uploaders.submit(_upload_garbage, running, number) for number in range(CORRUPT)]
            beside.append(_p99(running, names, 8))
            for upload in uploads:
                upload.result()
    released.set()
    slow.result(TIMEOUT_S)
    work = f"p99 of 8 callers, {CORRUPT} corrupt uploads and a stuck blob"
    yield Figure(work, "theirs alone", sorted(beside)[ROUNDS // 2], sorted(alone)[ROUNDS // 2], 1.1)


# ---- asking -----------------------------------------------------------------------------------------------------


def _request(adapter: str | None, rows: int = 1) -> InferRequest:
    return InferRequest("m", Inputs(texts=(TEXT,) * rows), adapter, ("embedding",))


async def _work(running: Running, names: Iterator[str], rows: int = 1) -> list[float]:
    """One caller, who asks for the next name as soon as he is answered. Seconds of each."""
    taken: list[float] = []
    for name in names:
        begun = time.perf_counter()
        await running.engine.infer(_request(name, rows))
        taken.append(time.perf_counter() - begun)
    return taken


def _ask_all(running: Running, names: Sequence[str], callers: int, requests: int, rows: int = 1) -> list[float]:
    """`requests` in all, for the names in turn."""

    async def ask() -> list[float]:
        todo = iter([names[number % len(names)] for number in range(requests)])
        return [
            one for each in await asyncio.gather(*(_work(running, todo, rows) for _ in range(callers))) for one in each
        ]

    return asyncio.run(ask())


def _p99(running: Running, names: Sequence[str], callers: int) -> float:
    taken = sorted(_ask_all(running, names, callers, SAMPLES))
    return taken[int(0.99 * len(taken))]


@contextmanager
def _traffic(running: Running, names: Sequence[str], callers: int) -> Generator[None]:
    """Somebody asks for these all the while."""
    over = threading.Event()

    def endlessly() -> Iterator[str]:
        while not over.is_set():
            yield from names

    async def ask() -> None:
        await asyncio.gather(*(_work(running, endlessly()) for _ in range(callers)))

    asker = threading.Thread(target=lambda: asyncio.run(ask()))
    asker.start()
    try:
        yield
    finally:
        over.set()
        asker.join()


def _warm_medians(works: dict[str, Callable[[], Any]]) -> dict[str, float]:
    for work in works.values():
        work()
    return medians(works, ROUNDS)


# ---- what is asked ----------------------------------------------------------------------------------------------


@contextmanager
def _engine(models: Path, **limits: int) -> Generator[Running]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "models").symlink_to(models)
        running = Running(Path(folder), HostLimits("cpu", **limits))
        try:
            running.engine.models.register("m", HuggingFaceSource("minilm"))
            assert running.wait_for_model("m").state == "ready"
            yield running
        finally:
            running.close()


def _create(running: Running, count: int) -> list[str]:
    names = [f"a{number}" for number in range(count)]
    for seed, name in enumerate(names):
        running.create(name, LORA, seed=seed)
    return names


def _upload_garbage(running: Running, number: int) -> None:
    try:
        running.engine.adapters.create(NewAdapter("m", f"bad{number}", LORA, weights=b"\x08" * 1_000_000))
    except Invalid:
        return
    raise AssertionError("garbage was taken for an adapter")
