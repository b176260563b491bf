"""More adapters in use than fit, step by step: the model's thread and the stagers do what the test says."""

import threading

import pytest

from models_registry.errors import Damaged, NoRoom, Unavailable
from service.host.adapters.loader import AdapterLoader
from tests.service.host.adapters.town import ONE, ROOM, Town, names, stored


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


def test_resident_adapters_keep_answering_while_others_are_loaded() -> None:
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


def test_a_failed_read_is_reported_at_once_and_the_next_request_retries() -> None:
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


def test_a_slow_blob_delays_no_request_that_needs_no_room_of_it() -> None:
    town = Town(4 * ONE)
    slow = town.ask("a")
    for name in "bcd":
        town.ask(name)
    ran: list[str] = []

    def serve_others(name: str) -> None:
        """While the blob of `a` is on its way."""
        if name == "a":
            for _ in range(3):
                town.stagers.finish()
            ran.extend(names(town.run()))
            assert not slow.future.done()

    town.reading = serve_others
    town.stagers.finish()
    assert ran == ["b", "c", "d"]


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
