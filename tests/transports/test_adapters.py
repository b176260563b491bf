"""What a front may rely on, whichever way a host's words come: adapters in memory, initial weights, merges."""

from dataclasses import replace

import bases
import pytest
import torch
from engines import RANDOM_LORA, ROWS, TIMEOUT_S, eventually, tensor
from tolerance import assert_same_in_float32

from models_registry.adapters.cancellation import never
from models_registry.adapters.catalog import parse_config
from models_registry.adapters.checkpoint import fresh_checkpoint
from models_registry.architecture import describe
from models_registry.errors import (
    Conflict,
    Damaged,
    Invalid,
    NoRoom,
    NotFound,
)
from models_registry.storage.blobs import BlobStore
from service.host.merging import merge_versions
from service.protocol.host import ModelHost
from service.protocol.types import FreshWeights, HostLimits, MergeOrder
from tests.transports.conftest import StartHost
from tests.transports.hosts import Gate, ask, bare, build, order, put, select, status_of, tier_of

ONE = 184  # bytes of `RANDOM_LORA` on the tiny MLP: 46 float32 numbers


def test_a_version_that_was_prepared_is_resident_once_it_is_attached(host: ModelHost, blobs: BlobStore) -> None:
    draft = put(blobs, "a")
    host.prepare(replace(draft, version=0)).result(TIMEOUT_S)
    assert status_of(host).resident == ()
    host.attach(draft).result(TIMEOUT_S)
    status = status_of(host, draft)
    assert status.resident == ("a@1",)
    assert (status.versions[draft.key].tier, status.versions[draft.key].bytes) == ("resident", ONE)


def test_what_can_not_be_served_is_said_before_it_is_committed_and_not_kept(host: ModelHost, blobs: BlobStore) -> None:
    good = put(blobs, "a")
    with pytest.raises(Damaged) as damaged:
        host.prepare(replace(good, digest="0" * 64)).result(TIMEOUT_S)
    assert damaged.value.digest == "0" * 64
    with pytest.raises(Invalid):
        host.prepare(replace(good, digest=blobs.put(b"\x08" * 64))).result(TIMEOUT_S)
    with pytest.raises(Conflict, match="other weights"):
        host.prepare(replace(good, fingerprint="sha256:of-others")).result(TIMEOUT_S)
    assert status_of(host, good).resident == ()
    assert status_of(host, good).stats.adapters.bytes == 0


def test_what_can_not_be_served_is_said_to_those_who_load_it_and_ask_it(host: ModelHost, blobs: BlobStore) -> None:
    gone = replace(put(blobs, "a"), digest="0" * 64)
    with pytest.raises(Damaged):
        host.load(gone, False).result(TIMEOUT_S)
    with pytest.raises(Damaged) as caught:
        ask(host, select((gone, 1.0))).result(TIMEOUT_S)
    assert (caught.value.digest, caught.value.found) == (gone.digest, "are gone")


def test_loading_makes_a_stored_version_resident(host: ModelHost, blobs: BlobStore) -> None:
    version = put(blobs, "a")
    host.load(version, False).result(TIMEOUT_S)
    known = status_of(host, version).versions[version.key]
    assert (known.tier, known.pinned, known.in_flight) == ("resident", False, 0)
    assert known.load_s is not None


def test_what_is_pinned_stays_until_it_is_unloaded(start_host: StartHost, blobs: BlobStore) -> None:
    host = build(start_host(), order(limits=HostLimits("cpu", max_resident_bytes=ONE)))
    pinned, other = put(blobs, "a"), put(blobs, "b")
    host.load(pinned, True).result(TIMEOUT_S)
    assert status_of(host, pinned).versions[pinned.key].pinned
    for refused in (host.load(other, False), host.attach(other), ask(host, select((other, 1.0)))):
        with pytest.raises(NoRoom):
            refused.result(TIMEOUT_S)
    assert status_of(host).resident == ("a@1",)
    host.unload([pinned.key]).result(TIMEOUT_S)
    eventually(lambda: status_of(host).resident == ())
    assert ask(host, select((other, 1.0))).result(TIMEOUT_S).outputs
    assert status_of(host).resident == ("b@1",)


def test_the_least_recently_used_version_makes_room(start_host: StartHost, blobs: BlobStore) -> None:
    host = build(start_host(), order(limits=HostLimits("cpu", max_resident_bytes=2 * ONE)))
    for name in "abac":
        ask(host, select((put(blobs, name), 1.0))).result(TIMEOUT_S)
    assert status_of(host).resident == ("a@1", "c@1")
    assert status_of(host).stats.adapters.evictions == 1


def test_a_team_at_its_share_makes_room_among_its_own_versions(start_host: StartHost, blobs: BlobStore) -> None:
    host = build(start_host(), order(limits=HostLimits("cpu", max_resident_bytes=2 * ONE)))
    host.share_resident({"fraud": 0.5})
    for name in ("tone", "fraud:a", "fraud:b"):
        ask(host, select((put(blobs, name), 1.0))).result(TIMEOUT_S)
    assert status_of(host).resident == ("tone@1", "fraud:b@1")


def test_a_version_that_a_request_uses_is_unloaded_after_it(
    gated_host: ModelHost, gate: Gate, blobs: BlobStore
) -> None:
    version = put(blobs, "a")
    gate.shut()
    runs = ask(gated_host, select((version, 1.0)))
    gate.wait_for_arrivals(1)
    assert status_of(gated_host, version).versions[version.key].in_flight == 1
    assert not gated_host.unload([version.key]).result(TIMEOUT_S)
    assert tier_of(gated_host, version) == "resident"
    gate.open()
    assert runs.result(TIMEOUT_S).outputs
    eventually(lambda: tier_of(gated_host, version) == "stored")
    assert gated_host.unload([version.key]).result(TIMEOUT_S)
    assert ask(gated_host, select((version, 1.0))).result(TIMEOUT_S).outputs  # and may come back


def test_what_was_removed_leaves_memory_and_no_later_call_brings_it_back(host: ModelHost, blobs: BlobStore) -> None:
    version = put(blobs, "a")
    host.load(version, True).result(TIMEOUT_S)
    host.forget([version.key])
    eventually(lambda: status_of(host).resident == ())
    for late in (host.load(version, False), host.attach(version), ask(host, select((version, 1.0)))):
        with pytest.raises(NotFound, match="a@1"):
            late.result(TIMEOUT_S)
    assert status_of(host, version).resident == ()
    again = replace(version, created_at=version.created_at.replace(year=2027))  # its name may be given anew
    assert ask(host, select((again, 1.0))).result(TIMEOUT_S).outputs


def test_what_was_removed_answers_those_that_use_it_already(
    gated_host: ModelHost, gate: Gate, blobs: BlobStore
) -> None:
    version = put(blobs, "a")
    gate.shut()
    runs = ask(gated_host, select((version, 1.0)))
    gate.wait_for_arrivals(1)
    gated_host.forget([version.key])
    gate.open()
    assert_same_in_float32(tensor(runs.result(TIMEOUT_S).outputs["output"]), bare(blobs, (version, 1.0))(ROWS).detach())
    eventually(lambda: status_of(gated_host).resident == ())


def test_initial_weights_follow_from_the_seed_and_the_base_models_weights(host: ModelHost) -> None:
    config = {**RANDOM_LORA, "use_dora": True}
    module = bases.mlp()
    expected = fresh_checkpoint(parse_config(config), describe(module), 7, module.get_parameter).tensors
    made = host.initial_weights(1, FreshWeights(config, 7)).result(TIMEOUT_S)
    assert made.keys() == expected.keys()
    assert all(torch.equal(made[key], expected[key]) for key in expected)
    other = host.initial_weights(2, FreshWeights(config, 8)).result(TIMEOUT_S)
    assert not all(torch.equal(made[key], other[key]) for key in made)


def test_initial_weights_of_a_config_that_does_not_fit_are_refused_with_faults_and_a_hint(host: ModelHost) -> None:
    config = {**RANDOM_LORA, "target_modules": ["first", "third"]}
    with pytest.raises(Invalid) as here:
        fresh_checkpoint(parse_config(config), describe(bases.mlp()), 0)
    with pytest.raises(Invalid) as there:
        host.initial_weights(3, FreshWeights(config, 0)).result(TIMEOUT_S)
    assert type(there.value) is type(here.value)
    assert (there.value.detail, there.value.hint) == (here.value.detail, here.value.hint)
    assert there.value.hint
    assert there.value.faults == here.value.faults
    assert there.value.faults
    accepted = host.initial_weights(4, FreshWeights(config, 0, unmatched=True)).result(TIMEOUT_S)
    assert {key.split(".")[0] for key in accepted} == {"first"}


def test_stored_versions_are_merged_by_a_host_that_has_opened_nothing(start_host: StartHost, blobs: BlobStore) -> None:
    one, other = put(blobs, "one", seed=1), put(blobs, "other", seed=2)
    order = MergeOrder(((one, 0.5), (other, -2.0)), describe(bases.mlp()), {"method": "cat"})
    merged = start_host().merge(1, order).result(TIMEOUT_S)
    expected = merge_versions(order, blobs.get, never)
    assert merged.config == expected.config
    assert merged.tensors.keys() == expected.tensors.keys()
    assert all(torch.equal(merged.tensors[key], expected.tensors[key]) for key in expected.tensors)


def test_a_merge_that_can_not_be_or_that_nobody_waits_for_is_refused(start_host: StartHost, blobs: BlobStore) -> None:
    one = put(blobs, "one", seed=1)
    architecture = describe(bases.mlp())
    gone = replace(one, digest="0" * 64)
    with pytest.raises(Damaged, match="are gone"):
        start_host().merge(1, MergeOrder(((gone, 1.0),), architecture, {"method": "cat"})).result(TIMEOUT_S)
    with pytest.raises(Invalid):
        start_host().merge(2, MergeOrder(((one, float("inf")),), architecture, {"method": "cat"})).result(TIMEOUT_S)
