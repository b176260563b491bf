"""Aliases that move and versions that go while requests run: each answer is one version's, and names it."""

import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager

import pytest
import torch
from engines import LORA, TIMEOUT_S, Running, eventually, lora_weights, tensor
from gated import Gate
from torch import Tensor

from models_registry.errors import Conflict, NotFound
from service.front.requests import NewAdapter, NewVersion
from service.host import model_host

SCALES = (0.25, 0.5, 1.0)


@pytest.fixture
def tone(running: Running) -> Running:
    """With an adapter of three versions, each of which answers in its own way."""
    running.host()
    add_versions(running)
    return running


@pytest.fixture
def gated_tone(running: Running, gate: Gate) -> Running:
    """The same, on a model whose forwards pass the gate."""
    running.host("m", "gated:mlp", gate=gate.name)
    add_versions(running)
    return running


def add_versions(running: Running) -> None:
    running.engine.adapters.create(NewAdapter("m", "tone", LORA, lora_weights(SCALES[0])))
    for scale in SCALES[1:]:
        running.engine.adapters.add_version("tone", NewVersion(lora_weights(scale)))


@contextmanager
def in_the_background(call: Callable[[], object]) -> Generator[threading.Thread]:
    thread = threading.Thread(target=call)
    thread.start()
    yield thread
    thread.join(TIMEOUT_S)
    assert not thread.is_alive()


# ---- aliases ------------------------------------------------------------------------------------------------------


def test_an_alias_that_moves_under_load_is_one_version_in_each_answer(tone: Running) -> None:
    expected: dict[object, Tensor] = {f"tone@{n}": tone.output(f"tone@{n}") for n in (1, 2, 3)}
    tone.engine.aliases.move("tone", "prod", 1)
    moves = [2, 3, 1] * 10
    done = threading.Event()
    wrong: list[object] = []
    seen: set[object] = set()

    def ask() -> None:
        while not done.is_set():
            answer = tone.answer(("tone@prod", None, "tone@prod"))
            first, _, last = answer.adapter
            seen.add(first)
            output = tensor(answer.outputs["output"])
            right = torch.allclose(output[[0, 2]], expected[first][[0, 2]], rtol=1e-5, atol=1e-6)
            if first != last or not right:
                wrong.append(answer)

    with ThreadPoolExecutor(3) as pool:
        askers = [pool.submit(ask) for _ in range(3)]
        for number in moves:
            tone.engine.aliases.move("tone", "prod", number)
            # From the answer on nobody gets an older one.
            assert tone.answer("tone@prod").adapter[0] == f"tone@{number}"
            eventually(lambda number=number: f"tone@{number}" in seen)
        done.set()
        wait(askers)
    assert [asker.exception() for asker in askers] == [None] * 3
    assert wrong == []
    assert len(seen) > 1


def test_an_alias_that_was_removed_answers_no_more(tone: Running) -> None:
    tone.engine.aliases.move("tone", "prod", 2)
    assert tone.answer("tone@prod").adapter[0] == "tone@2"
    tone.engine.aliases.remove("tone", "prod")
    with pytest.raises(NotFound, match="no alias 'prod'"):
        tone.answer("tone@prod")


# ---- removing versions --------------------------------------------------------------------------------------------


def test_a_removed_version_leaves_memory_and_the_one_before_is_the_newest(tone: Running) -> None:
    before = tone.output("tone@2")
    tone.output("tone")
    tone.engine.adapters.remove_version("tone", 3)

    assert "tone@3" not in tone.engine.models.find("m").resident
    assert tone.answer("tone").adapter[0] == "tone@2"
    assert torch.equal(tone.output("tone"), before)
    with pytest.raises(NotFound, match="no version '3'"):
        tone.answer("tone@3")


def test_a_version_in_use_stays_until_its_requests_are_done(
    gated_tone: Running, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_host, "PATIENCE_S", 0.05)  # version 2 leaves memory once the forward is over
    adapters = gated_tone.engine.adapters
    gate.shut()
    runs = gated_tone.ask("tone@3")
    gate.wait_for_arrival()
    with pytest.raises(Conflict, match="'tone@3' is in use by 1 requests"):
        adapters.remove_version("tone", 3)
    with pytest.raises(Conflict, match="'tone' is in use by 1 requests"):
        adapters.remove("tone")
    adapters.remove_version("tone", 2)
    assert gated_tone.engine.adapters.find("tone").adapter.newest.version == 3
    gate.open()
    runs.result(TIMEOUT_S)
    eventually(lambda: adapters.find("tone").in_flight == 0)
    adapters.remove_version("tone", 3)


def test_a_drain_lets_running_requests_finish_and_is_over_for_new_ones_at_once(gated_tone: Running, gate: Gate) -> None:
    adapters = gated_tone.engine.adapters
    gated_tone.engine.aliases.move("tone", "prod", 3)
    gate.shut()
    runs = gated_tone.ask("tone@prod")
    gate.wait_for_arrival()
    with in_the_background(lambda: adapters.remove_version("tone", 3, drain=True)):
        eventually(lambda: _refused(gated_tone, "tone@3"))
        with pytest.raises(NotFound):
            gated_tone.answer("tone@prod")
        newest = gated_tone.ask("tone")  # the newest version that stays
        assert adapters.find("tone").adapter.aliases == {"prod": 3}
        gate.open()
        assert runs.result(TIMEOUT_S).adapter == ("tone@3",) * 3
        assert newest.result(TIMEOUT_S).adapter == ("tone@2",) * 3
    left = adapters.find("tone").adapter
    assert ([version.version for version in left.versions], left.aliases) == ([1, 2], {})


def test_a_whole_adapter_drains_too(gated_tone: Running, gate: Gate) -> None:
    adapters = gated_tone.engine.adapters
    gated_tone.engine.aliases.move("tone", "prod", 1)
    gate.shut()
    runs = [gated_tone.ask(reference) for reference in ("tone@prod", "tone", {"tone@1": 0.5, "tone@2": 0.5})]
    gate.wait_for_arrival()
    eventually(lambda: adapters.find("tone").in_flight == 4)
    with in_the_background(lambda: adapters.remove("tone", drain=True)):
        eventually(lambda: _refused(gated_tone, "tone"))
        gate.open()
        for one in runs:
            assert one.result(TIMEOUT_S).outputs
    with pytest.raises(NotFound):
        adapters.find("tone")
    assert gated_tone.engine.models.find("m").resident == ()


def test_a_drain_that_takes_too_long_changes_nothing_and_says_how_many_still_run(
    gated_tone: Running, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.front.services.adapters.DRAIN_S", 0.05)
    adapters = gated_tone.engine.adapters
    gated_tone.engine.aliases.move("tone", "prod", 3)
    before = gated_tone.registry.snapshot()
    gate.shut()
    runs = [gated_tone.ask("tone@prod"), gated_tone.ask("tone")]
    gate.wait_for_arrival()
    eventually(lambda: adapters.find("tone").in_flight == 2)
    with pytest.raises(Conflict, match=r"still in use by 2 requests after 0\.05 s; nothing was changed"):
        adapters.remove_version("tone", 3, drain=True)
    with pytest.raises(Conflict, match=r"still in use by 2 requests after 0\.05 s; nothing was changed"):
        adapters.remove("tone", drain=True)

    assert gated_tone.registry.snapshot() == before
    runs.append(gated_tone.ask("tone@prod"))  # it is served as before
    gate.open()
    assert [one.result(TIMEOUT_S).adapter[0] for one in runs] == ["tone@3"] * 3


def test_what_can_not_be_removed_is_not_drained_first(gated_tone: Running, gate: Gate) -> None:
    adapters = gated_tone.engine.adapters
    for number in (1, 2):
        adapters.remove_version("tone", number)
    gate.shut()
    runs = gated_tone.ask("tone")
    gate.wait_for_arrival()
    with pytest.raises(Conflict, match="only version"):
        adapters.remove_version("tone", 3, drain=True)
    gate.open()
    runs.result(TIMEOUT_S)


def test_two_callers_who_drain_the_same_version_both_finish(gated_tone: Running, gate: Gate) -> None:
    adapters = gated_tone.engine.adapters
    gate.shut()
    runs = gated_tone.ask("tone")
    gate.wait_for_arrival()
    with ThreadPoolExecutor(2) as pool:
        drains = [pool.submit(adapters.remove_version, "tone", 3, True) for _ in range(2)]
        eventually(lambda: _refused(gated_tone, "tone@3"))
        gate.open()
        runs.result(TIMEOUT_S)
        ends = sorted(str(type(drain.exception(TIMEOUT_S))) for drain in drains)
    assert ends == sorted([str(type(None)), str(NotFound)])
    assert gated_tone.answer("tone").adapter[0] == "tone@2"


def _refused(running: Running, reference: str) -> bool:
    """Whether the reference means nothing any more; where it does, the question is taken back."""
    asked = running.ask(reference)
    try:
        asked.result(0.02)
    except NotFound:
        return True
    except TimeoutError:
        asked.cancel()
    return False
