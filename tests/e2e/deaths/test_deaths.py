"""A host that dies, hangs or starves: what its callers are told, what comes back, and that its neighbours notice
nothing."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import deadly
import httpx
import pytest
from e2e.deaths.house import CONFIG, ROW, House, row_of
from e2e.gate import Gate
from e2e.process import until

RESTARTING, ENDS_HOST = (503, "host-restarting"), (422, "request-ends-host")


def told(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json().get("type", "")


@pytest.mark.parametrize(
    ("number", "why"), [(deadly.SEGFAULT, "SIGSEGV"), (deadly.EXIT, "exit code 3")], ids=["segfault", "exit"]
)
def test_a_lone_request_that_ends_its_host_is_told_so_and_then_refused(house: House, number: float, why: str) -> None:
    model = f"lone-{number:g}"
    house.host(model)
    expected = house.output(model)
    first = house.ask(model, row_of(number))
    assert told(first) == RESTARTING
    assert int(first.headers["Retry-After"]) > 0
    assert why in first.json()["detail"]
    house.wait_for(model, "ready")
    assert told(house.ask(model, row_of(number))) == ENDS_HOST
    house.wait_for(model, "ready")
    hosts = house.hosts
    assert told(house.ask(model, row_of(number))) == ENDS_HOST
    assert house.hosts == hosts  # it was not tried again
    assert house.output(model) == expected
    house.http.delete(f"/models/{model}").raise_for_status()


def test_neighbours_and_innocents_of_a_death_are_all_answered(house: House) -> None:
    house.host("crowded")
    house.host("neighbour", "bases:mlp")
    expected = house.output("crowded")
    with ThreadPoolExecutor(24) as threads:
        beside = [threads.submit(house.ask, "neighbour") for _ in range(40)]
        innocents = [threads.submit(house.ask, "crowded") for _ in range(10)]
        killer = threads.submit(house.ask, "crowded", row_of(deadly.SEGFAULT))
        innocents += [threads.submit(house.ask, "crowded") for _ in range(10)]
        beside += [threads.submit(house.ask, "neighbour") for _ in range(40)]
        assert {future.result().status_code for future in beside} == {200}
        assert told(killer.result()) in {RESTARTING, ENDS_HOST}
        for future in innocents:
            answer = future.result()
            if answer.status_code == 503:  # it came while the host was away
                assert told(answer) == RESTARTING
                house.wait_for("crowded", "ready")
                answer = house.ask("crowded")
            assert answer.status_code == 200, answer.text
            assert answer.json()["outputs"]["output"]["data"] == expected
    house.http.delete("/models/crowded").raise_for_status()


def test_what_was_pinned_or_in_use_is_back_and_free_to_be_deleted(house: House) -> None:
    house.host("holder")
    for name in ("pinned", "used", "idle"):
        assert house.create("holder", name).status_code == 201
    house.http.post("/models/holder/adapters/pinned/load", params={"pin": True}).raise_for_status()
    expected = house.output("holder", adapter="used")
    assert told(house.ask("holder", row_of(deadly.SEGFAULT), "used")) == RESTARTING
    house.wait_for("holder", "ready")
    adapters = {name: house.http.get(f"/adapters/{name}").json() for name in ("pinned", "used", "idle")}
    tiers = {name: adapter["residency"] for name, adapter in adapters.items()}
    assert tiers == {"pinned": "resident", "used": "resident", "idle": "stored"}
    assert [adapters[name]["versions"][0]["pinned"] for name in ("pinned", "used")] == [True, False]
    assert house.output("holder", adapter="used") == expected
    assert told(house.ask("holder", row_of(deadly.EXIT), "used")) == RESTARTING
    assert house.http.delete("/adapters/used").status_code == 204
    house.wait_for("holder", "ready")
    assert house.ask("holder", adapter="used").status_code == 404
    house.http.delete("/models/holder", params={"cascade": True}).raise_for_status()


def test_a_model_is_restarting_until_it_is_built_again(house: House, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    house.host("slow", "deadly:gated", gate=str(gate.path))
    gate.close()
    assert told(house.ask("slow", row_of(deadly.SEGFAULT))) == RESTARTING
    assert house.model("slow")["state"] == "restarting"
    assert "SIGSEGV" in house.model("slow")["reason"]
    assert told(house.ask("slow")) == RESTARTING
    ready = house.http.get("/health/ready")
    assert ready.status_code == 200
    assert any("'slow'" in line for line in ready.json()["degraded"])
    asked = {"name": "meanwhile", "config": CONFIG, "seed": 1}
    key = {"Idempotency-Key": '"meanwhile"'}
    created = house.http.post("/models/slow/adapters", json=asked, headers=key)
    assert created.status_code == 201, created.text
    gate.open()
    house.wait_for("slow", "ready")
    again = house.http.post("/models/slow/adapters", json=asked, headers=key)
    assert (again.status_code, again.json()["digest"]) == (201, created.json()["digest"])
    assert house.ask("slow", adapter="meanwhile").status_code == 200
    assert not any("'slow'" in line for line in house.http.get("/health/ready").json()["degraded"])
    house.http.delete("/models/slow", params={"cascade": True}).raise_for_status()


def test_a_model_that_is_unloaded_while_it_restarts_stays_unloaded(house: House, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    house.host("leaving", "deadly:gated", gate=str(gate.path))
    gate.close()
    assert told(house.ask("leaving", row_of(deadly.SEGFAULT))) == RESTARTING
    until(lambda: house.model("leaving")["state"] == "restarting")
    assert house.http.post("/models/leaving/unload").json()["state"] == "unloaded"
    assert house.ask("leaving").status_code == 409
    assert house.http.delete("/models/leaving").status_code == 204


def test_a_model_that_dies_whenever_it_is_built_fails_with_the_signal_and_can_be_loaded(
    house: House, tmp_path: Path
) -> None:
    mended = tmp_path / "mended"
    house.begin("broken", "deadly:segfaulting", unless=str(mended))
    failed = house.wait_for("broken", "failed")
    assert "3 times" in failed["reason"]
    assert "SIGSEGV" in failed["reason"]
    mended.touch()
    assert house.http.post("/models/broken/load", params={"wait": 60}).json()["state"] == "ready"
    assert house.ask("broken").status_code == 200
    house.http.delete("/models/broken").raise_for_status()


def test_a_model_whose_build_hangs_holds_up_nobody_and_can_be_removed(house: House) -> None:
    for model, factory in (("hangs", "deadly:hanging"), ("sleeps", "deadly:sleeping")):
        house.begin(model, factory)
    house.host("beside-hanging", "bases:mlp")
    assert house.model("hangs")["state"] == house.model("sleeps")["state"] == "loading"
    assert house.http.post("/models/hangs/unload").json()["state"] == "unloaded"
    assert house.http.delete("/models/hangs").status_code == 204
    assert house.http.delete("/models/sleeps").status_code == 204
    house.http.delete("/models/beside-hanging").raise_for_status()


def test_defaults_that_a_factory_sets_are_its_own(house: House) -> None:
    house.host("doubling", "deadly:doubling")
    house.host("single", "bases:mlp")
    assert (house.model("doubling")["dtype"], house.model("single")["dtype"]) == ("float64", "float32")
    for model in ("doubling", "single"):
        house.http.delete(f"/models/{model}").raise_for_status()


def test_a_forward_that_never_ends_ends_its_host_and_deadlines_are_answered_before(house: House) -> None:
    for model in ("sleeping", "holding"):
        house.host(model)
    with ThreadPoolExecutor() as threads:
        stuck = [
            threads.submit(house.ask, "sleeping", row_of(deadly.SLEEP), None, 0.5),
            threads.submit(house.ask, "holding", row_of(deadly.HOLD)),
        ]
        assert told(stuck[0].result()) == (504, "deadline-passed")
        assert house.model("sleeping")["state"] == "ready"
        held = stuck[1].result()
        assert told(held) == RESTARTING
        assert "ADAPTER_SERVICE_FORWARD_TIMEOUT" in held.json()["detail"]
    until(lambda: house.ask("sleeping").status_code == 200)
    until(lambda: house.ask("holding").status_code == 200)
    for model in ("sleeping", "holding"):
        house.http.delete(f"/models/{model}").raise_for_status()


def test_a_forward_that_takes_all_memory_starves_nobody_else(house: House) -> None:
    house.host("hungry")
    house.host("sated", "bases:mlp")
    with ThreadPoolExecutor() as threads:
        hungry = threads.submit(house.ask, "hungry", row_of(deadly.ALLOCATE))
        assert {house.ask("sated").status_code for _ in range(20)} == {200}
        assert hungry.result().status_code in {500, 503, 507}
    until(lambda: house.ask("hungry").status_code == 200)
    for model in ("hungry", "sated"):
        house.http.delete(f"/models/{model}").raise_for_status()


def test_a_model_fails_after_five_deaths_by_different_requests_until_it_is_loaded(house: House) -> None:
    house.host("fragile")
    for salt in range(4):
        assert told(house.ask("fragile", row_of(deadly.EXIT, salt))) == RESTARTING
        house.wait_for("fragile", "ready")
        assert told(house.ask("fragile", row_of(deadly.EXIT, salt))) == ENDS_HOST
        house.wait_for("fragile", "ready")
    assert told(house.ask("fragile", row_of(deadly.EXIT, 5.0))) == RESTARTING
    failed = house.wait_for("fragile", "failed")
    assert "5 times" in failed["reason"]
    assert "exit code 3" in failed["reason"]
    assert house.ask("fragile").status_code == 409
    house.http.post("/models/fragile/load", params={"wait": 60}).raise_for_status()
    assert house.ask("fragile").status_code == 200
    house.http.delete("/models/fragile").raise_for_status()


def test_the_end_of_what_forks_hosts_brings_all_of_them_back(house: House) -> None:
    house.host("forked")
    expected = house.output("forked")
    server = house.fork_server
    os.kill(server.pid, signal.SIGKILL)
    until(lambda: house.ask("forked").status_code == 200)
    assert house.output("forked", ROW) == expected
    house.host("forked-later")
    assert house.output("forked-later") == expected
    assert house.fork_server.pid != server.pid
