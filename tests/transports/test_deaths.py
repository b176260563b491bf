"""What a host's end is to those who wait for it, where it lives in a process of its own."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import deadly
import pytest
import torch
from engines import TIMEOUT_S, eventually
from torch import Tensor

from models_registry.errors import Conflict, RegistryError
from models_registry.storage.blobs import open_blob_store
from service.protocol.errors import HostLost
from service.transports.local_process import HostSettings, LocalProcess
from service.transports.processes.launch import Launch, Launcher
from service.transports.remote_host import RemoteHost
from tests.transports.hosts import Gate, ask, build, order, put

ROUNDS = 20
OVER = Conflict("The base model 'm' was unloaded; load it first.")
StartHost = Callable[[], RemoteHost]


@pytest.fixture
def start_host(host_launcher: Launcher, tmp_path: Path) -> Iterator[StartHost]:
    transport, started = LocalProcess(HostSettings(f"file:{tmp_path}/blobs"), host_launcher), list[RemoteHost]()

    def start() -> RemoteHost:
        host = transport.start("m")
        assert isinstance(host, RemoteHost)
        started.append(host)
        return host

    yield start
    for host in started:
        host.end(OVER)


@pytest.fixture
def host(start_host: StartHost) -> RemoteHost:
    """Of `deadly:deadly`."""
    host = start_host()
    build(host, order("deadly:deadly"))
    return host


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path)
    yield gate
    gate.open()


@pytest.fixture
def gated_host(start_host: StartHost, gate: Gate) -> RemoteHost:
    host = start_host()
    build(host, order("bases:waiting", folder=str(gate.folder)))
    return host


def deed(number: float) -> Tensor:
    return torch.full((1, 4), number)


def test_each_request_learns_which_of_them_ran_when_their_host_was_killed(gated_host: RemoteHost, gate: Gate) -> None:
    gate.shut()
    runs = ask(gated_host, id=1)
    gate.wait_for_arrivals(1)
    waiting = [ask(gated_host, id=2), ask(gated_host, id=3)]
    told: list[bool] = []
    gated_host.lost.add_done_callback(lambda _: told.extend(future.done() for future in (runs, *waiting)))
    os.kill(gated_host.process.pid, signal.SIGKILL)
    for future in (runs, *waiting):
        with pytest.raises(HostLost, match="SIGKILL") as caught:
            future.result(TIMEOUT_S)
        assert caught.value.running == (1,)
    assert told == [False] * 3
    assert gated_host.lost.result().running == (1,)
    assert gated_host.work is None


@pytest.mark.parametrize(
    ("number", "reason"), [(deadly.SEGFAULT, "SIGSEGV"), (deadly.EXIT, "exit code 3")], ids=["segfault", "exit"]
)
def test_how_a_forward_ended_its_host_is_reported(host: RemoteHost, number: float, reason: str) -> None:
    with pytest.raises(HostLost, match=reason) as caught:
        ask(host, x=deed(number), id=5).result(TIMEOUT_S)
    assert caught.value.running == (5,)
    assert host.lost.result(TIMEOUT_S).reason == reason


def test_a_host_that_died_answers_why_to_every_verb(host: RemoteHost, tmp_path: Path) -> None:
    version = put(open_blob_store(f"file:{tmp_path}/blobs"), "a")
    os.kill(host.process.pid, signal.SIGKILL)
    host.lost.result(TIMEOUT_S)
    futures = (
        *(ask(host), host.status(), host.profile(), host.build(), host.open(order())),
        *(host.prepare(version), host.attach(version), host.load(version, pin=True), host.unload([version.key])),
    )
    eventually(lambda: all(isinstance(future.exception(TIMEOUT_S), HostLost) for future in futures))
    host.cancel(1)
    host.forget([version.key])
    host.give_up(OVER)
    host.kill("it is dead already")
    assert host.close(OVER).result(TIMEOUT_S) is None
    assert host.end(OVER)


def test_a_build_that_ends_its_host_is_reported_with_its_signal(start_host: StartHost) -> None:
    host = start_host()
    host.open(order("deadly:segfaulting")).result(TIMEOUT_S)
    with pytest.raises(HostLost, match="SIGSEGV"):
        host.build().result(TIMEOUT_S)


def test_a_factory_in_words_that_are_no_text_fails_its_build(start_host: StartHost) -> None:
    host = start_host()
    host.open(order("deadly:mumbling")).result(TIMEOUT_S)
    with pytest.raises(RegistryError, match=r"no file \\udcff"):
        host.build().result(TIMEOUT_S)


def test_callers_get_the_reason_for_which_a_host_is_killed(host: RemoteHost) -> None:
    runs = ask(host, x=deed(deadly.SLEEP), id=1)
    eventually(lambda: host.work is not None and host.work.ids == (1,))
    host.kill("its forward took too long")
    with pytest.raises(HostLost, match="its forward took too long") as caught:
        runs.result(TIMEOUT_S)
    assert caught.value.running == (1,)


@pytest.mark.parametrize("number", [deadly.SLEEP, deadly.HOLD], ids=["sleeps", "holds Python's lock"])
def test_giving_up_and_ending_need_no_word_of_the_host(host: RemoteHost, number: float) -> None:
    runs = ask(host, x=deed(number), id=1)
    eventually(lambda: host.work is not None and host.work.ids == (1,))
    waits = ask(host, id=2)
    profile = host.profile()
    host.give_up(OVER)
    for future in (runs, waits):
        with pytest.raises(Conflict, match="unloaded"):
            future.result(TIMEOUT_S)
    profile.exception(TIMEOUT_S)
    closed = host.close(OVER)
    assert host.end(OVER)
    assert closed.result(TIMEOUT_S) is None
    assert not host.lost.done()


def test_a_request_whose_caller_left_tells_nobody_when_its_host_dies(host: RemoteHost) -> None:
    left = ask(host, x=deed(deadly.SLEEP), id=1)
    eventually(lambda: host.work is not None and host.work.ids == (1,))
    host.cancel(1)
    os.kill(host.process.pid, signal.SIGKILL)
    assert isinstance(left.exception(TIMEOUT_S), HostLost)


def test_large_rows_arrive_both_ways_beside_small_ones(start_host: StartHost) -> None:
    host = start_host()
    build(host, order("bases:wide", width=1000))
    x = torch.linspace(-1, 1, 2_000_000).reshape(2000, 1000)
    futures = [ask(host, x=rows) for rows in (x, x[:1], x, x[:1])]
    large, small, again, _ = (future.result(TIMEOUT_S).outputs["output"] for future in futures)
    assert isinstance(large, Tensor)
    assert isinstance(small, Tensor)
    assert large.shape == x.shape
    assert torch.equal(large, torch.as_tensor(again))
    assert small.shape == (1, 1000)


@pytest.mark.parametrize("entry", ["half_a_frame", "nonsense"])
def test_a_host_that_is_not_understood_is_lost(host_launcher: Launcher, entry: str) -> None:
    process = host_launcher.launch(Launch(f"tests.transports.misspeaking:{entry}"))
    host = RemoteHost("m", process)
    with pytest.raises(HostLost):
        host.status().result(TIMEOUT_S)
    assert process.wait(TIMEOUT_S) is not None
    assert host.lost.done()
    assert host.end(OVER)


def test_started_and_ended_hosts_leave_no_thread_and_no_open_file(start_host: StartHost) -> None:
    def one_life(turn: int) -> None:
        host = start_host()
        opened = host.open(order("bases:mlp"))
        if turn % 3:
            opened.result(TIMEOUT_S)
        if turn % 2:
            os.kill(host.process.pid, signal.SIGKILL)
            host.lost.result(TIMEOUT_S)
        elif turn % 4:
            host.close(OVER).result(TIMEOUT_S)
        host.end(OVER)

    one_life(1)
    before = held()
    for turn in range(ROUNDS):
        one_life(turn)
    eventually(lambda: held() <= before)


def held() -> tuple[int, int]:
    return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()
