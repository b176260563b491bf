"""Callers of both processes who want the same thing at once: one of them gets it."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from threading import Barrier

import httpx
import pytest
from e2e.adapters import create
from e2e.process import Service
from e2e.replicas.pair import LORA, MODEL, SOURCE, Pair, put_state

CALLERS = 8


def at_once(pair: Pair, ask: Callable[[Service, int], httpx.Response]) -> Sequence[httpx.Response]:
    """The answers to callers of the one and of the other who ask at the same moment."""
    start = Barrier(CALLERS)

    def run(number: int, service: Service) -> httpx.Response:
        start.wait()
        return ask(service, number)

    with ThreadPoolExecutor(CALLERS) as callers:
        return list(callers.map(run, range(CALLERS), islice(cycle(pair), CALLERS)))


def statuses(answers: Sequence[httpx.Response]) -> Counter[int]:
    return Counter(answer.status_code for answer in answers)


@pytest.mark.parametrize("attempt", range(3))
def test_of_many_who_create_one_name_one_succeeds(pair: Pair, attempt: int) -> None:
    def ask(service: Service, number: int) -> httpx.Response:
        body = {"name": f"wanted-{attempt}", "config": LORA, "seed": number}
        return service.http.post(f"/models/{MODEL}/adapters", json=body)

    answers = at_once(pair, ask)
    assert statuses(answers) == {201: 1, 409: CALLERS - 1}
    [made] = [answer.json() for answer in answers if answer.status_code == 201]
    for service in pair:
        found = service.http.get(f"/adapters/wanted-{attempt}").json()
        assert (found["digest"], len(found["versions"])) == (made["digest"], 1)


@pytest.mark.parametrize("attempt", range(3))
def test_of_many_who_build_on_the_same_state_one_succeeds(pair: Pair, attempt: int) -> None:
    name = f"built-on-{attempt}"
    create(pair.one.http, MODEL, name, LORA, seed=0)
    etag = pair.one.http.get(f"/adapters/{name}/state").headers["etag"]
    answers = at_once(pair, lambda service, number: put_state(service, name, number, **{"If-Match": etag}))
    assert statuses(answers) == {201: 1, 412: CALLERS - 1}
    [made] = [answer.json() for answer in answers if answer.status_code == 201]
    assert (made["version"], pair.other.http.get(f"/adapters/{name}").json()["digest"]) == (2, made["digest"])


def test_versions_that_come_at_once_each_have_a_number_of_their_own(pair: Pair) -> None:
    create(pair.one.http, MODEL, "busy", LORA, seed=0)
    answers = at_once(pair, lambda service, number: put_state(service, "busy", number))
    assert statuses(answers) == {201: CALLERS}
    assert sorted(answer.json()["version"] for answer in answers) == list(range(2, CALLERS + 2))


def test_of_many_who_register_one_model_one_succeeds(pair: Pair) -> None:
    def ask(service: Service, _: int) -> httpx.Response:
        return service.http.post("/models", params={"wait": 60}, json={"id": "popular", "source": SOURCE})

    assert statuses(at_once(pair, ask)) == {201: 1, 409: CALLERS - 1}
