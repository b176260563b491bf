"""No host and nothing that starts hosts outlives the service, however that ends."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import deadly
import httpx
import pytest
from e2e.deaths.house import House, gone, row_of
from e2e.process import Service, until

OWN_GROUP = ("setsid", "adapterctl", "serve")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    service = Service(tmp_path, tmp_path)
    service.environment["ADAPTER_SERVICE_FACTORIES"] = "deadly:*,bases:*"
    house = House(service.start(OWN_GROUP))
    for model in ("sleeps", "holds"):
        house.host(model)
    house.host("gated", "bases:waiting", folder=str(tmp_path))
    house.begin("builds", "deadly:hanging")
    yield house
    service.close()


def interrupt(service: Service) -> None:
    """As Ctrl-C in a terminal does: all processes of the group get the signal."""
    os.killpg(service.pid, signal.SIGINT)


def terminate(service: Service) -> None:
    """As an init system does: the front alone gets the signal."""
    os.kill(service.pid, signal.SIGTERM)


def test_nothing_outlives_a_service_that_was_killed(house: House) -> None:
    with ThreadPoolExecutor() as threads:
        begin_to_be_stuck(house, threads)
        processes = house.processes
        assert len(processes) == 5
        house.service.kill()
        assert gone(processes)


@pytest.mark.parametrize("ask_to_end", [interrupt, pytest.param(terminate, marks=pytest.mark.deep)])
def test_a_service_that_is_asked_to_end_finishes_what_can_end_and_leaves_nothing(
    house: House, ask_to_end: Callable[[Service], None]
) -> None:
    """Also where a forward, or a build, never lets go of its interpreter's lock."""
    shut, arrived = (house.service.directory / name for name in ("shut", "arrived"))
    shut.touch()
    with ThreadPoolExecutor() as threads:
        stuck = begin_to_be_stuck(house, threads)
        finishes = threads.submit(house.ask, "gated")
        until(arrived.exists)
        processes = house.processes
        ask_to_end(house.service)
        until(lambda: house.http.get("/health/ready").status_code == 503)
        shut.unlink()
        assert finishes.result().status_code == 200
        assert [future.result().status_code for future in stuck] == [503, 503]
        assert house.service.wait_for_the_end() == 0
        assert gone(processes)


def begin_to_be_stuck(house: House, threads: ThreadPoolExecutor) -> list[Future[httpx.Response]]:
    return [
        threads.submit(house.ask, "sleeps", row_of(deadly.SLEEP)),
        threads.submit(house.ask, "holds", row_of(deadly.HOLD)),
    ]
