"""Hosts that are killed at any moment while callers create, change and ask: nothing that was acknowledged is lost, and
every answer is right or says to try again."""

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count

import httpx
import pytest
import torch
from e2e.adapters import SAFETENSORS, state, upload
from e2e.crashes.uploads import CONFIG, computed, weights
from e2e.process import PATIENCE_S, Service, until
from safetensors.torch import load, save

KILLS = 4
"""Of each model's host; after the fifth within ten minutes it has failed, by intention."""
CALLERS = 3
AWAY = {503}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("killed"), tmp_path_factory.mktemp("models"))
    yield service.start_preloaded()
    service.close()


class Caller:
    """Works on adapters of its own, and remembers what it was told."""

    def __init__(self, service: Service, model: str, number: int) -> None:
        self._http = httpx.Client(base_url=service.address, timeout=PATIENCE_S)
        self._model = model
        self._number = number
        self._seeds = count(number * 100_000)
        self._names = count()
        self._random = random.Random(number)
        self.told: dict[str, bytes] = {}
        self.answers = 0

    def work(self, is_over: threading.Event) -> None:
        deeds: tuple[Callable[[], None], ...] = (self._create, self._put, self._ask, self._ask, self._download)
        with self._http:
            while not is_over.is_set():
                self._random.choice(deeds)()
                self.answers += 1

    def require_all(self, http: httpx.Client) -> None:
        for reference, blob in self.told.items():
            assert stored(http, reference) == blob

    def _create(self) -> None:
        name, blob = f"a{self._number}-{next(self._names)}", weights(next(self._seeds))
        if self._is_done(upload(self._http, self._model, name, CONFIG, blob), 201):
            self.told[f"{name}@1"] = blob

    def _put(self) -> None:
        if not self.told:
            return
        name, blob = self._random.choice(list(self.told)).partition("@")[0], weights(next(self._seeds))
        answer = self._http.put(f"/adapters/{name}/state", content=blob, headers={"Content-Type": SAFETENSORS})
        if self._is_done(answer, 201):
            self.told[f"{name}@{answer.json()['version']}"] = blob

    def _ask(self) -> None:
        if not self.told:
            return
        reference = self._random.choice(list(self.told))
        rows = torch.randn(2, 4, generator=torch.Generator().manual_seed(next(self._seeds)))
        answer = self._http.post(
            f"/models/{self._model}/infer",
            params={"adapter": reference},
            content=save({"x": rows}),
            headers={"Content-Type": SAFETENSORS, "Accept": SAFETENSORS},
        )
        if self._is_done(answer, 200):
            due = computed(rows, self.told[reference])
            assert torch.allclose(load(answer.content)["output"], due, rtol=1e-4, atol=1e-4), reference

    def _download(self) -> None:
        if self.told:
            reference = self._random.choice(list(self.told))
            assert stored(self._http, reference) == self.told[reference]

    def _is_done(self, answer: httpx.Response, status: int) -> bool:
        assert answer.status_code in {status, *AWAY}, answer.text
        return answer.status_code == status


def stored(http: httpx.Client, reference: str) -> bytes:
    name, _, version = reference.partition("@")
    return state(http, name, version=version)


@pytest.mark.parametrize(
    "number", [0, *(pytest.param(number, marks=pytest.mark.deep) for number in range(1, 16))], ids="round-{}".format
)
def test_nothing_is_lost_when_hosts_are_killed_at_any_moment(service: Service, number: int) -> None:
    models = [f"m{number}-{index}" for index in range(2)]
    for model in models:
        service.register(model, {"kind": "python", "factory": "bases:mlp"})
    callers = [Caller(service, model, number * 10 + at) for at, model in enumerate(models * CALLERS)]
    is_over = threading.Event()
    chance = random.Random(number)
    with ThreadPoolExecutor(len(callers)) as threads:
        working = [threads.submit(caller.work, is_over) for caller in callers]
        try:
            for model in chance.sample(models * KILLS, len(models) * KILLS):
                wait_for_answers(callers, working)
                kill_host_of(service, model, chance.uniform(0.0, 0.05))
        finally:
            is_over.set()
        for work in working:
            work.result()
    for model in models:
        wait_until_ready(service, model)
    for caller in callers:
        caller.require_all(service.http)
    for model in models:
        service.http.delete(f"/models/{model}", params={"cascade": True}).raise_for_status()


def wait_for_answers(callers: Sequence[Caller], working: Sequence[Future[None]]) -> None:
    """Until everybody has one to a request that began after this: else two kills might hit the same request, which
    would be taken for what ends its host."""
    before = [caller.answers for caller in callers]

    def have_all() -> bool:
        for work in working:
            if work.done():
                work.result()  # what went wrong
        return all(caller.answers > was + 1 for caller, was in zip(callers, before, strict=True))

    until(have_all)


def wait_until_ready(service: Service, model: str) -> None:
    until(lambda: service.http.get(f"/models/{model}").json()["state"] == "ready")


def kill_host_of(service: Service, model: str, after_s: float) -> None:
    """A while after it is ready, at a moment that only chance chooses."""
    wait_until_ready(service, model)
    pid = service.http.get(f"/models/{model}/host").json()["pid"]
    threading.Event().wait(after_s)
    os.kill(pid, signal.SIGKILL)
