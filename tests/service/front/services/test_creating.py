import json
from collections.abc import Mapping
from typing import Any

import bases
import pytest
import torch
from engines import IA3, LORA, RANDOM_LORA, ROWS, TIMEOUT_S, Running, Start, lora_weights
from gated import Gate
from safetensors.torch import load
from tolerance import assert_same_in_float32
from torch import Tensor

from models_registry.adapter_searches import AdapterSearch
from models_registry.errors import Conflict, Invalid, NotFound, Stale, Unavailable
from service.front.requests import Accepted, NewAdapter, NewVersion
from service.protocol.types import HostLimits


def test_a_created_adapter_is_resident_at_once_and_its_state_is_what_is_stored(running: Running) -> None:
    running.host()
    created = running.create("a")
    version = created.version
    assert (version.reference, version.method, version.targets) == ("a@1", "LORA", ("first", "second"))
    assert running.tier("a") == "resident"
    assert running.engine.models.find("m").resident == ("a@1",)
    assert running.engine.adapters.find_version("a").reference == "a@1"
    assert set(load(running.state("a"))) == {
        f"{name}.lora_{side}.weight" for name in ("first", "second") for side in "AB"
    }


def test_the_same_seed_gives_the_same_bytes(running: Running) -> None:
    running.host()
    assert running.create("a", seed=7).version.digest == running.create("b", seed=7).version.digest
    assert running.create("c", seed=8).version.digest != running.create("d", seed=9).version.digest


def test_an_upload_computes_what_its_weights_say(running: Running) -> None:
    running.host()
    running.engine.adapters.create(NewAdapter("m", "a", LORA, lora_weights()))
    state = load(running.state("a"))
    base = bases.mlp()
    scaling = LORA["lora_alpha"] / LORA["r"]

    def layer(name: str, x: Tensor) -> Tensor:
        delta = x @ state[f"{name}.lora_A.weight"].T @ state[f"{name}.lora_B.weight"].T
        return base.get_submodule(name)(x) + scaling * delta

    with torch.no_grad():
        expected = layer("second", torch.relu(layer("first", ROWS)))
    assert_same_in_float32(running.output("a"), expected)


@pytest.mark.parametrize(
    ("config", "weights", "what"),
    [
        ({"peft_type": "LORA", "target_modules": ["third"]}, None, "third"),
        ({"peft_type": "MAGIC"}, None, "MAGIC"),
        (LORA, b"\x80\x02 pickled", "safetensors"),
        ({**LORA, "r": 3}, lora_weights(), "shape"),
        (IA3, lora_weights(), "first.ia3_l"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing_behind(
    running: Running, config: Mapping[str, Any], weights: bytes | None, what: str
) -> None:
    running.host()
    with pytest.raises(Invalid) as caught:
        running.engine.adapters.create(NewAdapter("m", "a", config, weights))
    assert what in str(caught.value)
    assert running.engine.adapter_lists.page(10).items == ()
    assert list(running.blobs.iterdir()) == []
    assert running.engine.models.find("m").resident == ()


def test_a_dry_run_says_the_same_and_stores_nothing(running: Running) -> None:
    running.host()
    new = NewAdapter("m", "a", LORA, lora_weights(), metadata={"by": "a test"})
    would_be = running.engine.adapters.check(new)
    assert list(running.blobs.iterdir()) == []
    with pytest.raises(NotFound):
        running.engine.adapters.find("a")
    really = running.engine.adapters.create(new)
    for field in ("reference", "model", "method", "config", "digest", "parameters", "bytes", "targets", "metadata"):
        assert getattr(would_be.version, field) == getattr(really.version, field)
    with pytest.raises(Conflict, match="already"):
        running.engine.adapters.check(new)


def test_a_taken_name_is_a_conflict(running: Running) -> None:
    running.host()
    running.create("a")
    with pytest.raises(Conflict, match="already"):
        running.create("a", IA3)
    assert [version.method for version in running.engine.adapters.find("a").adapter.versions] == ["LORA"]


def test_adapters_can_be_created_on_a_model_that_is_not_in_memory(running: Running) -> None:
    running.host()
    running.engine.models.unload("m")
    assert running.create("a").version.reference == "a@1"
    assert running.tier("a") == "stored"


def test_a_model_that_was_never_built_takes_no_adapter(running: Running, gate: Gate) -> None:
    with pytest.raises(NotFound):
        running.create("a", model="nowhere")
    running.host("bad", "bases:broken")
    with pytest.raises(Conflict, match="no weights today"):
        running.create("a", model="bad")
    gate.shut()
    running.begin_hosting("slow", "gated:slow", gate=gate.name)
    with pytest.raises(Unavailable, match="first time"):
        running.create("a", model="slow")


def test_a_new_version_is_what_the_name_means_and_the_old_one_still_answers(running: Running) -> None:
    running.host()
    first = running.engine.adapters.create(NewAdapter("m", "a", LORA, lora_weights())).version
    old = running.output("a")
    second = running.engine.adapters.add_version("a", NewVersion(lora_weights(3.0)), if_match=first.digest).version
    assert (second.reference, second.config) == ("a@2", first.config)
    assert running.answer("a").adapter == ("a@2",) * 3
    assert not torch.equal(running.output("a"), old)
    assert torch.equal(running.output("a@1"), old)
    with pytest.raises(Stale, match="a@2"):
        running.engine.adapters.add_version("a", NewVersion(lora_weights()), if_match=first.digest)


def test_a_new_version_may_bring_its_own_config(running: Running) -> None:
    running.host()
    running.engine.adapters.create(NewAdapter("m", "a", LORA, lora_weights()))
    loud = running.engine.adapters.add_version("a", NewVersion(lora_weights(), {**LORA, "lora_alpha": 40})).version
    assert loud.config["lora_alpha"] == 40
    assert not torch.allclose(running.output("a@2"), running.output("a@1"))
    with pytest.raises(Invalid):
        running.engine.adapters.add_version("a", NewVersion(lora_weights(), IA3))


def test_an_accepted_unknown_key_is_kept_and_does_not_stop_later_loads(running: Running) -> None:
    running.host()
    config = {**RANDOM_LORA, "invented": 1}
    with pytest.raises(Invalid, match="invented"):
        running.create("a", config)
    running.engine.adapters.create(NewAdapter("m", "a", config, accept=Accepted(unknown=("invented",))))
    assert json.loads(json.dumps(dict(running.engine.adapters.find("a").adapter.newest.config)))["invented"] == 1
    running.engine.adapters.unload("m", "a")
    assert running.answer("a").adapter == ("a@1",) * 3
    running.engine.adapters.add_version("a", NewVersion(lora_weights()))


def test_no_room_in_memory_is_a_warning_for_the_adapter_exists_from_its_commit_on(start: Start) -> None:
    running = start(HostLimits("cpu", max_resident_bytes=10))
    running.host()
    created = running.create("a")
    assert any("not in memory" in warning for warning in created.warnings)
    assert running.tier("a") == "stored"
    assert running.engine.adapters.find_version("a").digest == created.version.digest


def test_lists_go_by_name_and_page(running: Running) -> None:
    running.host("m")
    running.host("other")
    for name in ("c", "a", "b"):
        running.create(name)
    running.create("theirs", model="other")
    lists = running.engine.adapter_lists
    first = lists.page(2)
    assert [status.adapter.name for status in first.items] == ["a", "b"]
    assert [status.adapter.name for status in lists.page(9, after=first.next).items] == ["c", "theirs"]
    assert [status.adapter.name for status in lists.page(9, AdapterSearch(model="other")).items] == ["theirs"]
    with pytest.raises(NotFound):
        lists.page(9, AdapterSearch(model="nowhere"))


def test_the_generation_grows_with_every_write_of_this_process(running: Running) -> None:
    running.host()
    before = running.engine.generation
    running.create("a")
    assert running.engine.generation == running.registry.generation() > before
    running.engine.adapters.remove("a")
    assert running.engine.generation == running.registry.generation()


def test_a_request_that_waits_for_its_adapter_counts_as_one_that_holds_it(running: Running, gate: Gate) -> None:
    running.host("m", "gated:mlp", gate=gate.name)
    running.create("a")
    gate.shut()
    runs = running.ask("a")
    gate.wait_for_arrival()
    with pytest.raises(Conflict, match="in use by 1"):
        running.engine.adapters.remove("a")
    gate.open()
    runs.result(TIMEOUT_S)
    running.engine.adapters.remove("a")
    with pytest.raises(NotFound):
        running.answer("a")
    assert running.engine.models.find("m").resident == ()


def test_a_reused_name_answers_with_its_new_weights_and_config(running: Running) -> None:
    running.host()
    outputs: list[torch.Tensor] = []
    for config, scale in ((LORA, 1.0), (LORA, 2.0), ({**LORA, "lora_alpha": 40}, 2.0)):
        created = running.engine.adapters.create(NewAdapter("m", "a", config, lora_weights(scale)))
        assert created.version.reference == "a@1"
        outputs.append(running.output("a@1"))
        running.engine.adapters.remove("a")
    assert not torch.allclose(outputs[0], outputs[1])
    assert not torch.allclose(outputs[1], outputs[2])
