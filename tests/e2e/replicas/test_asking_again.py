"""Callers who ask both processes for the same thing under one key: it is done once, and all are told the same."""

from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from threading import Barrier

import httpx
from e2e.adapters import create
from e2e.process import Service
from e2e.replicas.pair import LORA, MODEL, Pair, infer, weights

CALLERS = 8


def test_of_many_who_add_a_version_under_one_key_all_get_the_same_one(pair: Pair) -> None:
    create(pair.one.http, MODEL, "asked-again", LORA, seed=0)
    start = Barrier(CALLERS)

    def ask(service: Service) -> httpx.Response:
        start.wait()
        return add_version(service, seed=1, key="one-and-the-same")

    with ThreadPoolExecutor(CALLERS) as callers:
        answers = list(callers.map(ask, islice(cycle(pair), CALLERS)))
    assert [answer.status_code for answer in answers] == [201] * CALLERS
    first, *others = [answer.json() for answer in answers]
    assert others == [first] * (CALLERS - 1)
    for service in pair:
        assert len(service.http.get("/adapters/asked-again").json()["versions"]) == 2
        assert add_version(service, seed=1, key="one-and-the-same").json() == first
        assert add_version(service, seed=2, key="one-and-the-same").status_code == 409


def test_who_is_told_by_the_other_process_can_use_it_there_at_once(pair: Pair) -> None:
    body = {"name": "told-elsewhere", "config": LORA, "seed": 3}
    headers = {"Idempotency-Key": "told-elsewhere"}
    made, again = (s.http.post(f"/models/{MODEL}/adapters", json=body, headers=headers) for s in pair)
    assert (made.status_code, again.status_code) == (201, 201)
    assert made.json() == again.json()
    assert infer(pair.other, "told-elsewhere").json()["adapter"] == ["told-elsewhere@1"] * 2


def add_version(service: Service, seed: int, key: str) -> httpx.Response:
    config = '{"peft_type": "LORA", "r": 2, "target_modules": ["first", "second"]}'
    files = {"config": ("adapter_config.json", config), "weights": ("adapter_model.safetensors", weights(seed))}
    return service.http.post("/adapters/asked-again/versions", files=files, headers={"Idempotency-Key": key})
