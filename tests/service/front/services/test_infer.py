import time
from concurrent.futures import Future
from typing import Any

import pytest
import torch
from engines import ADALORA, IA3, LORA, RANDOM_LORA, ROWS, TIMEOUT_S, Running, Start, eventually, lora_weights, tensor
from gated import Gate
from tolerance import assert_same_in_float32
from torch import Tensor

from models_registry.errors import (
    Conflict,
    Damaged,
    DeadlinePassed,
    Invalid,
    NotFound,
    Overloaded,
    Unavailable,
)
from models_registry.inputs.values import Inputs
from service.front.access.caller import Caller, called_by
from service.front.requests import InferAnswer, InferRequest, NewAdapter
from service.host.model_host import TorchHost
from service.protocol.types import HostAnswer, HostLimits, InferCall


def test_the_base_answers_without_an_adapter(running: Running) -> None:
    running.host()
    answer = running.answer()
    assert tensor(answer.outputs["output"]).shape == (3, 3)
    assert answer.adapter == (None, None, None)
    assert answer.digest == (None, None, None)


def test_an_adapter_changes_what_its_rows_get_and_the_answer_names_its_version(running: Running) -> None:
    running.host()
    version = running.create("a").version
    answer = running.answer("a")
    assert not torch.allclose(tensor(answer.outputs["output"]), running.output())
    assert answer.adapter == ("a@1",) * 3
    assert answer.digest == (f"sha256:{version.digest}",) * 3


def test_the_host_hears_whose_request_it_is(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    running.host()
    teams, infer = list[str](), TorchHost.infer

    def listening(host: TorchHost, id: int, call: InferCall, *rest: Any) -> Future[HostAnswer]:
        teams.append(call.team)
        return infer(host, id, call, *rest)

    monkeypatch.setattr(TorchHost, "infer", listening)
    running.answer()
    with called_by(Caller("fraud", "caller")):
        running.answer()
    assert teams == ["default", "fraud"]


def test_each_row_gets_its_own_adapter_as_if_it_were_alone(running: Running) -> None:
    running.host()
    running.create("lora")
    running.create("ada", ADALORA)
    running.engine.adapters.create(NewAdapter("m", "uploaded", LORA, lora_weights()))
    running.create("ia3", IA3)
    choices = ("uploaded", None, "ia3", "lora", "uploaded", {"lora": 0.5, "ada": -2.0})
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(3))
    answer = running.answer(choices, x)
    alone = torch.cat([running.output(choice, x[row : row + 1]) for row, choice in enumerate(choices)])
    assert_same_in_float32(tensor(answer.outputs["output"]), alone)
    assert answer.adapter == ("uploaded@1", None, "ia3@1", "lora@1", "uploaded@1", {"lora@1": 0.5, "ada@1": -2.0})
    assert isinstance(answer.digest[5], dict)


def test_the_deltas_of_a_composition_add_up(running: Running) -> None:
    running.host("m", "gated:wayward", mode="plain")
    config = {**RANDOM_LORA, "target_modules": ["linear"]}
    running.create("a", config, seed=1)
    running.create("b", config, seed=2)
    base, a, b, both = (
        tensor(running.answer(choice).outputs["y"]) for choice in (None, "a", "b", {"a": 0.5, "b": -1.5})
    )
    assert_same_in_float32(both, base + 0.5 * (a - base) - 1.5 * (b - base))


def test_every_unknown_reference_is_named_at_once(running: Running) -> None:
    running.host()
    running.create("a")
    with pytest.raises(NotFound, match=r"'x'.*version '7'.*'y'"):
        running.answer(("x", "a@7", {"a": 1.0, "y": 1.0}))


def test_an_adapter_of_another_model_is_not_found(running: Running) -> None:
    running.host("m")
    running.host("other")
    running.create("theirs", model="other")
    with pytest.raises(NotFound, match="belongs to model 'other'"):
        running.answer("theirs")


@pytest.mark.parametrize(
    ("choice", "what"),
    [
        ({"ia3": 0.5}, "IA3"),
        ({"ia3": 1.0, "a": 1.0}, "IA3"),
        ({"a": float("nan")}, "float32 can hold"),
        ({"a": 1e39}, "float32 can hold"),
        ({}, "null"),
    ],
)
def test_a_composition_that_makes_no_sense_is_refused(running: Running, choice: dict[str, float], what: str) -> None:
    running.host()
    running.create("a")
    running.create("ia3", IA3)
    with pytest.raises(Invalid) as caught:
        running.answer((None, choice, None))
    assert what in str(caught.value)
    assert caught.value.faults[0].loc[:2] == ("adapter", 1)


@pytest.mark.parametrize("choices", [("a",), ("a", None), (None,) * 4])
def test_a_list_of_adapters_has_one_entry_per_row(running: Running, choices: tuple[str | None, ...]) -> None:
    running.host()
    running.create("a")
    with pytest.raises(Invalid, match="entries for 3 rows"):
        running.answer(choices)


def test_only_the_outputs_that_were_asked_for_are_returned(running: Running) -> None:
    running.host("m", "gated:wayward", mode="whole")
    assert set(running.answer(outputs=("y",)).outputs) == {"y"}
    with pytest.raises(Invalid, match="y, total, table"):
        running.answer(outputs=("logits",))


def test_who_shares_a_forward_gets_the_outputs_that_he_asked_for(running: Running, gate: Gate) -> None:
    running.host("m", "gated:both", gate=gate.name)
    running.create("a", seed=1)
    running.create("b", seed=2)
    asked: list[tuple[str | None, Tensor, tuple[str, ...] | None]] = [
        (None, ROWS, None),
        ("a", ROWS[:2] + 1, ("hidden",)),
        (None, ROWS[:1] - 1, ("output",)),
        ("a", ROWS[1:] * 2, None),
        ("b", ROWS * 3, ("hidden", "output")),
    ]
    alone = [running.answer(adapter, x).outputs for adapter, x, _ in asked]
    before = gate.passed
    gate.shut()
    first = running.ask()
    gate.wait_for_arrival()
    together = [running.ask(adapter, x, outputs=outputs) for adapter, x, outputs in asked]
    eventually(lambda: queued_rows(running) == sum(len(x) for _, x, _ in asked))
    gate.open()
    first.result(TIMEOUT_S)
    for answer, all_of_it, (_, x, outputs) in zip(together, alone, asked, strict=True):
        got = answer.result(TIMEOUT_S).outputs
        assert set(got) == set(outputs or ("output", "hidden"))
        for name, value in got.items():
            assert len(tensor(value)) == len(x)
            assert_same_in_float32(tensor(value), tensor(all_of_it[name]))
    assert gate.passed == before + 2


def queued_rows(running: Running) -> int:
    hosted = running.engine.models.stats()["m"].hosted
    assert hosted is not None
    return hosted.queue.rows


def test_outputs_without_rows_are_returned_whole_under_one_adapter(running: Running) -> None:
    running.host("m", "gated:wayward", mode="whole")
    running.create("a", {**RANDOM_LORA, "target_modules": ["linear"]})
    answer = running.answer("a")
    assert answer.adapter == ("a@1",)
    assert tensor(answer.outputs["table"]).shape == (5, 2)
    with pytest.raises(Invalid) as caught:
        running.answer(("a", None, None))
    assert {fault.loc for fault in caught.value.faults} == {("outputs", "total"), ("outputs", "table")}
    assert running.answer(("a", None, None), outputs=("y",)).adapter == ("a@1", None, None)


def test_inputs_without_rows_take_one_adapter(running: Running) -> None:
    running.host("m", "gated:scaled")
    running.create("a", {**RANDOM_LORA, "target_modules": ["linear"]})
    inputs = Inputs({"x": torch.ones(2, 4), "scale": torch.tensor(2.0)})
    answer = running.answer_for(InferRequest("m", inputs, "a"))
    assert answer.adapter == ("a@1",)
    assert running.answer_for(InferRequest("m", inputs, ("a", "a"))).adapter == ("a@1",)
    with pytest.raises(Invalid, match="no rows"):
        running.answer_for(InferRequest("m", inputs, ("a", None)))


def test_inputs_that_the_module_chokes_on_are_the_callers_fault_and_nobody_elses(running: Running) -> None:
    running.host()
    with pytest.raises(Invalid, match="mat1 and mat2"):
        running.answer(x=torch.ones(2, 5))
    assert running.output().shape == (3, 3)


def test_a_module_that_tries_to_end_the_process_only_fails_its_request(running: Running) -> None:
    running.host("m", "gated:wayward", mode="exits")
    with pytest.raises(RuntimeError, match="SystemExit"):
        running.answer(x=-torch.ones(1, 4))
    assert "y" in running.answer(x=torch.ones(1, 4)).outputs


def test_asking_an_unknown_an_unloaded_a_loading_and_a_failed_model(running: Running, gate: Gate) -> None:
    with pytest.raises(NotFound, match="no base model 'm'"):
        running.answer()
    running.host()
    running.engine.models.unload("m")
    with pytest.raises(Conflict, match="load it first"):
        running.answer()
    running.host("bad", "bases:broken")
    with pytest.raises(Conflict, match="no weights today"):
        running.answer(model="bad")
    gate.shut()
    running.begin_hosting("slow", "gated:slow", gate=gate.name)
    with pytest.raises(Unavailable, match="still loading"):
        running.answer(model="slow")


def test_damaged_bytes_are_not_served_and_the_next_request_tries_again(running: Running) -> None:
    running.host()
    version = running.create("a").version
    running.engine.adapters.unload("m", "a")
    blob = running.blobs / version.digest
    whole = blob.read_bytes()
    blob.write_bytes(whole[:-1] + b"?")
    with pytest.raises(Damaged, match=version.digest):
        running.answer("a")
    blob.write_bytes(whole)
    assert running.answer("a").adapter == ("a@1",) * 3


def test_no_request_reads_the_database(running: Running) -> None:
    running.host()
    running.create("a")
    running.database.close()
    (running.directory / "registry.db").rename(running.directory / "away.db")
    assert running.answer(("a", None, "a@1")).adapter == ("a@1", None, "a@1")
    (running.directory / "away.db").rename(running.directory / "registry.db")


def test_a_full_queue_is_said_at_once(start: Start, gate: Gate) -> None:
    running = start(HostLimits("cpu", max_queue=1))
    running.host("m", "gated:mlp", gate=gate.name)
    running.create("a")
    gate.shut()
    runs = running.ask("a")
    gate.wait_for_arrival()
    waits = running.ask("a")
    eventually(lambda: running.engine.adapters.find("a").in_flight == 2)
    with pytest.raises(Overloaded, match="1 requests wait"):
        running.answer()
    gate.open()
    assert runs.result(TIMEOUT_S).adapter == waits.result(TIMEOUT_S).adapter


def test_a_request_whose_deadline_passes_in_the_queue_never_runs(running: Running, gate: Gate) -> None:
    running.host("m", "gated:mlp", gate=gate.name)
    running.answer()
    before = gate.passed
    gate.shut()
    runs = running.ask()
    gate.wait_for_arrival()
    late = running.ask(deadline=time.monotonic() + 0.05)
    with pytest.raises(DeadlinePassed):
        late.result(TIMEOUT_S)  # though the one that runs is still at the gate
    gate.open()
    runs.result(TIMEOUT_S)
    running.answer()
    assert gate.passed == before + 2


def test_a_deadline_bounds_the_answer_and_the_forward_runs_on(running: Running, gate: Gate) -> None:
    running.host("m", "gated:mlp", gate=gate.name)
    running.answer()
    before = gate.passed
    gate.shut()
    late = begun_before_its_deadline(running, gate)
    waits = running.ask()
    with pytest.raises(DeadlinePassed):
        late.result(TIMEOUT_S)
    assert gate.passed == before
    gate.open()
    assert waits.result(TIMEOUT_S).outputs
    assert gate.passed >= before + 2


def begun_before_its_deadline(running: Running, gate: Gate) -> Future[InferAnswer]:
    """A request that stands at the gate: where others use the cores, a deadline may pass before one gets there."""
    for allowed_s in (0.1, 1.0, 10.0):
        late = running.ask(deadline=time.monotonic() + allowed_s)
        while not late.done():
            if gate.has_arrival(within_s=0.01):
                return late
    raise AssertionError("it never began")


def test_a_cancelled_request_in_the_queue_never_runs_and_holds_nothing(running: Running, gate: Gate) -> None:
    running.host("m", "gated:mlp", gate=gate.name)
    running.create("a")
    running.answer()
    before = gate.passed
    gate.shut()
    runs = running.ask()
    gate.wait_for_arrival()
    leaves = running.ask("a")
    eventually(lambda: running.engine.adapters.find("a").in_flight == 1)
    leaves.cancel()
    eventually(lambda: running.engine.adapters.find("a").in_flight == 0)
    gate.open()
    runs.result(TIMEOUT_S)
    running.answer()
    assert gate.passed == before + 2
