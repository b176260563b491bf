"""More adapters in use than fit, step by step: the model's thread and the stagers do what the test says."""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from typing import Any

import bases
import pytest
import torch
from engines import RANDOM_LORA, version_of
from hypothesis import given, settings
from hypothesis import strategies as st

from models_registry.adapters.catalog import dump_config, parse_config
from models_registry.adapters.checkpoint import fresh_checkpoint
from models_registry.base_models.spec import Rows
from models_registry.errors import Damaged, NoRoom, Unavailable
from models_registry.injection.adapted_model import AdaptedModel
from models_registry.inputs.values import Inputs
from models_registry.records import AdapterVersion
from models_registry.safetensors_files import write_safetensors
from service.host.adapters.adapter_cache import AdapterCache
from service.host.adapters.loader import AdapterLoader
from service.host.scheduling.batcher import Batcher
from service.host.scheduling.job import BatchKey, Job
from service.protocol.types import InferCall, Part, Residency, Selection

ONE = 92  # bytes of each rank of `RANDOM_LORA` on the tiny MLP: 23 float32 numbers
RANKS = {"a": 1, "b": 1, "c": 1, "d": 1, "e": 2, "f": 2, "g": 3, "h": 4}
ROOM = 4
MAX_ROWS = 3
X = Rows({"x": torch.ones(1, 4)}, 1)


class Stagers(Executor):
    """Threads that get on only when the test says so."""

    def __init__(self) -> None:
        self.orders: list[Callable[[], object]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.orders.append(lambda: fn(*args, **kwargs))
        return Future()

    def finish(self, number: int = 0) -> None:
        if self.orders:
            self.orders.pop(number % len(self.orders))()


@dataclass(frozen=True)
class Stored:
    version: AdapterVersion
    blob: bytes


def stored(adapted: AdaptedModel, name: str, claimed_parameters: int | None = None) -> Stored:
    config = parse_config({**RANDOM_LORA, "r": RANKS[name]})
    checkpoint = fresh_checkpoint(config, adapted.architecture, 0)
    version = replace(
        version_of(name),
        config=dump_config(checkpoint.config),
        parameters=checkpoint.parameters if claimed_parameters is None else claimed_parameters,
    )
    return Stored(version, write_safetensors(checkpoint.tensors))


class Town:
    """A model's residency and its queue, without threads."""

    def __init__(self, room: int = ROOM * ONE) -> None:
        self.adapted = AdaptedModel(bases.mlp())
        self.room = room
        self.stored = {name: stored(self.adapted, name) for name in RANKS}
        self.broken: set[str] = set()
        self.stagers = Stagers()
        self.batcher = Batcher(10_000, MAX_ROWS)
        self.adapters = AdapterCache(
            self.adapted,
            AdapterLoader(self.adapted, self._read),
            self.stagers,
            room,
            self.batcher.wake,
            self.batcher.fail,
        )
        self.asked: list[Job] = []

    def _read(self, version: AdapterVersion) -> bytes:
        if version.adapter in self.broken:
            raise Damaged(version.digest)
        return self.stored[version.adapter].blob

    def ask(self, *names: str) -> Job:
        versions = [self.stored[name].version for name in names]
        selections = tuple(Selection((Part(version, version.key, 1.0),)) for version in versions)
        job = Job(InferCall(Inputs(X.tensors)), selections, X, Future(), 0.0, BatchKey("rows"))
        self.batcher.admit(job.future)
        self.adapters.acquire(job.versions)
        job.future.add_done_callback(lambda _: self.adapters.release(job.versions))
        self.adapters.prefetch(job.versions)
        self.batcher.put(job)
        self.asked.append(job)
        return job

    def run(self) -> tuple[Job, ...]:
        """What the model's thread does once: who was answered."""
        self.batcher.refuse(self.adapters.rebalance(self.batcher.in_fair_order()))
        self.check()
        jobs = self.batcher.take(self.adapters.absent) or ()
        assert isinstance(jobs, tuple)
        begun = tuple(job for job in jobs if job.begin())
        for job in begun:
            self.adapters.make_resident(job.versions)
        self.check()
        for job in begun:
            with self.adapted.routed_whole({}):
                assert job.keys <= set(self.adapted.adapters)
            job.future.set_result(None)  # pyright: ignore[reportArgumentType] - what it is told doesn't matter here
        return begun

    def tier(self, version: AdapterVersion) -> Residency:
        return self.adapters.residency([version.key])[version.key].tier

    def check(self) -> None:
        attached = sum(RANKS[name.partition("@")[0]] * ONE for name in self.adapted.adapters)
        assert attached <= self.adapters.taken <= self.room

    def settle(self) -> None:
        """Let everything come and run."""
        for _ in range(3 * len(self.asked) + 10):
            while self.stagers.orders:
                self.stagers.finish()
            self.run()


def names(jobs: tuple[Job, ...]) -> list[str]:
    return ["+".join(sorted(job.adapters)) for job in jobs]


def test_who_waits_for_room_gets_it_in_turn_though_others_are_there_and_keep_asking() -> None:
    town = Town(2 * ONE)
    for name in "abab":
        town.ask(name)
    town.stagers.finish()
    town.stagers.finish()
    assert names(town.run()) == ["a", "b", "a"]
    waits = [town.ask("c"), town.ask("d")]
    batches = 0
    while not all(job.future.done() for job in waits):
        town.ask("a")
        town.ask("b")
        town.run()
        town.stagers.finish()
        batches += 1
        assert batches <= 6


def test_what_is_there_goes_on_answering_while_others_come() -> None:
    town = Town(2 * ONE)
    for name in "abababab":
        town.ask(name)
    town.stagers.finish()
    town.stagers.finish()
    town.ask("c")
    town.ask("d")  # neither blob comes for now
    assert names(town.run()) == ["a", "b", "a"]
    assert names(town.run()) in (["a", "a"], ["b", "b", "b"])
    town.stagers.finish()
    assert names(town.run())[0] == "c"


def test_whoever_waits_for_a_blob_that_cannot_be_read_is_told_so_at_once_and_the_next_tries_again() -> None:
    town = Town()
    town.broken.add("a")
    loses = [town.ask("a"), town.ask("a", "b")]
    town.stagers.finish()
    assert all(isinstance(job.future.exception(0), Damaged) for job in loses)
    town.broken.clear()
    again = town.ask("a")
    town.settle()
    assert again.future.exception(0) is None


def test_who_loads_what_is_just_leaving_waits_until_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    town = Town(ONE)
    town.ask("a")
    town.settle()
    version = town.stored["a"].version

    def load() -> None:
        with town.adapters.claimed(version):
            town.adapters.wait_until_staged(version)
            town.adapters.pin(version)

    loading = threading.Thread(target=load)
    eject = town.adapted.eject_adapter

    def eject_slowly(name: str) -> None:
        loading.start()
        loading.join(0.05)
        eject(name)

    monkeypatch.setattr(town.adapted, "eject_adapter", eject_slowly)
    town.ask("b")
    town.run()
    while loading.is_alive():
        town.run()
        town.stagers.finish()
    assert town.tier(version) != "stored"


def test_what_is_requested_again_while_room_is_made_for_it_takes_its_room_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    town = Town()
    for name in "abe":
        town.ask(name)
    town.settle()
    eject = town.adapted.eject_adapter

    def eject_while_more_ask(name: str) -> None:
        eject(name)
        if name == town.stored["b"].version.key:  # the room of the one before it is free already
            town.ask("c")

    monkeypatch.setattr(town.adapted, "eject_adapter", eject_while_more_ask)
    town.ask("c")
    town.ask("d")
    town.settle()
    assert all(job.future.done() for job in town.asked)
    assert town.adapters.taken == ROOM * ONE


def test_a_failed_read_does_not_matter_to_what_its_creator_brought_meanwhile() -> None:
    town = Town()
    stored = town.stored["a"]
    prepared = AdapterLoader(town.adapted, lambda _: stored.blob).prepare(stored.version, None)
    with town.adapters.claimed(stored.version):
        town.run()
        town.adapters.place(stored.version, prepared)
        town.broken.add("a")
        town.stagers.finish()
        town.adapters.wait_until_staged(stored.version)
    assert town.tier(stored.version) == "resident"


def test_what_nobody_but_its_loader_waits_for_is_read_once() -> None:
    town = Town()
    town.broken.add("a")
    version = town.stored["a"].version
    with town.adapters.claimed(version):
        town.run()
        town.stagers.finish()
        town.run()  # before its loader was told
        assert town.stagers.orders == []
        with pytest.raises(Damaged):
            town.adapters.wait_until_staged(version)


def test_a_blob_that_does_not_come_holds_up_nobody_whose_room_it_does_not_need() -> None:
    town = Town(4 * ONE)
    slow = town.ask("a")
    for name in "bcd":
        town.ask(name)
    for _ in range(3):
        town.stagers.finish(1)
    assert names(town.run()) == ["b", "c", "d"]
    assert not slow.future.done()


def test_the_whole_room_for_one_comes_free_whatever_the_others_ask() -> None:
    town = Town()
    for name in "abcd":
        town.ask(name)
    town.settle()
    large = town.ask("h")
    batches = 0
    while not large.future.done():
        for name in "abcd":
            town.ask(name)
        town.run()
        town.stagers.finish()
        batches += 1
        assert batches <= 8


def test_one_that_takes_more_than_was_thought_comes_again_when_there_is_room() -> None:
    town = Town(4 * ONE)
    town.stored["g"] = stored(town.adapted, "g", claimed_parameters=0)
    town.ask("e")
    town.stagers.finish()
    town.run()
    town.ask("g")
    town.stagers.finish()
    town.check()
    town.settle()
    assert all(job.future.done() for job in town.asked)


def test_a_request_that_can_never_fit_beside_what_is_pinned_is_refused_and_the_rest_runs() -> None:
    town = Town(4 * ONE)
    version = town.stored["e"].version
    with town.adapters.claimed(version):
        town.run()
        town.stagers.finish()
        town.adapters.pin(version)
    hopeless, fits, pinned = town.ask("g"), town.ask("f"), town.ask("e", "f")
    town.settle()
    assert isinstance(hopeless.future.exception(0), NoRoom)
    assert fits.future.exception(0) is None
    assert pinned.future.exception(0) is None


def test_a_request_that_finds_no_room_beside_what_is_just_being_loaded_waits_for_it() -> None:
    town = Town(4 * ONE)
    with town.adapters.claimed(town.stored["e"].version):
        waits = town.ask("g")
        for _ in range(3):
            town.run()
            town.stagers.finish()
        assert town.tier(town.stored["e"].version) == "staged"
        assert not waits.future.done()
    town.settle()
    assert waits.future.exception(0) is None


def test_whoever_loads_while_the_model_goes_is_told_so() -> None:
    town = Town()
    version = town.stored["a"].version
    with town.adapters.claimed(version):
        town.adapters.close(Unavailable("gone"))
        with pytest.raises(Unavailable, match="gone"):
            town.adapters.wait_until_staged(version)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=3, unique=True)),
        st.tuples(st.just("finish"), st.integers(0, 7)),
        st.tuples(st.just("run"), st.none()),
        st.tuples(st.just("leave"), st.integers(0, 20)),
        st.tuples(st.just("unload"), st.sampled_from("abcdefgh")),
        st.tuples(st.just("pin"), st.sampled_from("abcd")),
        st.tuples(st.sampled_from(["break", "mend"]), st.sampled_from("abcdefgh")),
    ),
    max_size=60,
)


@given(steps)
@settings(max_examples=60, deadline=None)
def test_whatever_happens_the_limit_holds_everybody_is_answered_and_nothing_is_kept(
    happens: list[tuple[str, Any]],
) -> None:
    _live_through(happens)


@pytest.mark.deep
@given(steps)
@settings(max_examples=3000, deadline=None)
def test_however_often(happens: list[tuple[str, Any]]) -> None:
    _live_through(happens)


def _live_through(happens: list[tuple[str, Any]]) -> None:
    town = Town()
    does: dict[str, Callable[[Any], object]] = {
        "ask": lambda which: town.ask(*which),
        "finish": town.stagers.finish,
        "run": lambda _: town.run(),
        "leave": lambda which: town.asked and town.asked[which % len(town.asked)].future.cancel(),
        "unload": lambda name: town.adapters.unload([town.stored[name].version.key]),
        "pin": lambda which: _pin(town, which),
        "break": town.broken.add,
        "mend": town.broken.discard,
    }
    for what, which in happens:
        does[what](which)
        town.check()
    town.settle()
    assert all(job.future.done() for job in town.asked)
    assert town.adapters.absent() == frozenset()
    for name in RANKS:
        key = town.stored[name].version.key
        known = town.adapters.residency([key])
        assert key not in known or known[key].in_flight == 0
        town.adapters.unload([key])
    town.settle()
    assert town.adapted.adapters == ()
    assert town.adapters.taken == 0


def _pin(town: Town, name: str) -> None:
    version = town.stored[name].version
    try:
        with town.adapters.claimed(version):
            for _ in range(len(town.stagers.orders) + 1):
                town.run()
                town.stagers.finish(-1)
            town.run()
            if town.tier(version) != "stored":
                town.adapters.pin(version)
    except NoRoom:
        pass  # others are pinned already, which is said rather than evicting them
