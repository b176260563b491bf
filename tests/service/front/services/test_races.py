"""Everything at once: whatever happens beside it, an answer is what the versions it names compute."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from engines import LORA, TIMEOUT_S, Running, Start, lora_weights, tensor
from gated import Gate
from tolerance import assert_same_in_float32
from torch import Tensor

from models_registry.errors import Conflict, NotFound, RegistryError, Unavailable
from models_registry.references import named_by
from service.front.requests import Digest, NewAdapter, NewVersion
from service.protocol.types import HostLimits

ROUNDS = 25
SCALES = (0.25, 0.5, 1.0)
EXPECTED_TROUBLE = (Conflict, NotFound, Unavailable)


def expected_by_digest(running: Running) -> dict[Digest, Tensor]:
    """What each upload computes, by the digest that an answer names."""
    known: dict[Digest, Tensor] = {None: running.output()}
    for scale in SCALES:
        version = running.engine.adapters.create(NewAdapter("m", "probe", LORA, lora_weights(scale))).version
        known[f"sha256:{version.digest}"] = running.output("probe")
        running.engine.adapters.remove("probe")
    return known


def test_answers_match_their_digests_while_names_are_added_and_removed(start: Start) -> None:
    # Two adapters of 184 bytes fit, for one request may name both, and a third doesn't.
    running = start(HostLimits("cpu", max_resident_bytes=400))
    running.host()
    known = expected_by_digest(running)
    engine = running.engine
    wrong: list[object] = []

    def create(turn: int) -> None:
        scale = SCALES[turn % len(SCALES)]
        engine.adapters.create(NewAdapter("m", f"n{turn % 2}", LORA, lora_weights(scale)))

    def add(turn: int) -> None:
        engine.adapters.add_version(f"n{turn % 2}", NewVersion(lora_weights(SCALES[turn % len(SCALES)])))

    def remove(turn: int) -> None:
        engine.adapters.remove(f"n{turn % 2}")

    def unload(turn: int) -> None:
        engine.adapters.unload("m", f"n{turn % 2}")

    def infer(turn: int) -> None:
        answer = running.answer(("n0", None, "n1") if turn % 3 else f"n{turn % 2}")
        due = torch.stack([known[digest][row] for row, digest in enumerate(answer.digest)])
        if not torch.allclose(tensor(answer.outputs["output"]), due, rtol=1e-5, atol=1e-5):
            wrong.append((turn, answer, due))

    verbs = (create, add, remove, unload, infer, infer)
    with ThreadPoolExecutor(len(verbs)) as pool:
        created, *_ = pool.map(_repeat, verbs)
    assert wrong == []
    assert created > 0
    assert {status.in_flight for status in engine.adapter_lists.page(10).items} <= {0}
    left = {status.adapter.name for status in engine.adapter_lists.page(10).items}
    assert {named_by(reference) for reference in engine.models.find("m").resident} <= left


def _repeat(verb: Callable[[int], None]) -> int:
    """How often it worked."""
    done = 0
    for turn in range(ROUNDS):
        try:
            verb(turn)
            done += 1
        except EXPECTED_TROUBLE:
            pass  # somebody else was first, which is what this is about
    return done


def test_loading_and_unloading_a_model_under_traffic_ends_in_what_was_asked_last(running: Running) -> None:
    running.host()
    running.create("a")
    expected = running.output("a")
    done = threading.Event()
    troubles: list[BaseException] = []

    def traffic() -> None:
        while not done.is_set():
            try:
                # Not the same bits: a merged copy answers for an adapter that many ask for.
                assert_same_in_float32(running.output("a"), expected)
            except EXPECTED_TROUBLE:
                pass  # it is out of memory at the moment, and said so
            except (AssertionError, RegistryError) as trouble:
                troubles.append(trouble)

    callers = [threading.Thread(target=traffic) for _ in range(2)]
    for caller in callers:
        caller.start()
    for _ in range(5):
        running.engine.models.unload("m")
        running.engine.models.load("m")
        running.wait_for_model("m")
    done.set()
    for caller in callers:
        caller.join(TIMEOUT_S)
    assert troubles == []
    assert running.engine.models.find("m").state == "ready"
    assert torch.equal(running.output("a"), expected)


def test_requests_for_one_model_do_not_wait_for_another(running: Running, gate: Gate) -> None:
    running.host("stuck", "gated:mlp", gate=gate.name)
    running.host("free")
    gate.shut()
    stuck = [running.ask(model="stuck") for _ in range(20)]
    gate.wait_for_arrival()
    assert running.output(model="free").shape == (3, 3)
    gate.open()
    for one in stuck:
        one.result(TIMEOUT_S)
