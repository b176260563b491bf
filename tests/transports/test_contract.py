"""What a front may rely on, whichever way a host's words come: each verb of `ModelHost`, and what it promises."""

from concurrent.futures import CancelledError
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
    DeadlinePassed,
    Invalid,
    NoRoom,
    NotFound,
    Overloaded,
    RegistryError,
    Unavailable,
    WithoutEffect,
)
from models_registry.storage.blobs import BlobStore
from service.host.merging import merge_versions
from service.protocol.host import ModelHost
from service.protocol.types import BASE, FreshWeights, HostLimits, MergeOrder
from tests.transports.conftest import StartHost
from tests.transports.hosts import Gate, ask, bare, build, order, put, select, status_of, tier_of

ONE = 184  # bytes of `RANDOM_LORA` on the tiny MLP: 46 float32 numbers
OVER = Conflict("The base model 'm' was unloaded; load it first.", hint="Load it.")


# ---- building ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factory", "dtype", "device", "loc"),
    [
        ("os:getcwd", None, None, ("source", "factory")),
        ("bases:mlp", "float33", None, ("dtype",)),
        ("bases:mlp", None, "tpu", ("device",)),
    ],
)
def test_a_source_that_can_not_be_is_refused_before_it_is_built(
    start_host: StartHost, factory: str, dtype: str | None, device: str | None, loc: tuple[str, ...]
) -> None:
    opened = start_host().open(order(factory, dtype=dtype, device=device))
    with pytest.raises(Invalid) as caught:
        opened.result(TIMEOUT_S)
    assert [fault.loc for fault in caught.value.faults] == [loc]


def test_what_was_built_is_described_as_the_bare_module_is(start_host: StartHost) -> None:
    host = start_host()
    host.open(order()).result(TIMEOUT_S)
    built = host.build().result(TIMEOUT_S)
    assert built.architecture == describe(bases.mlp())
    assert (built.dtype, built.device, built.task) == ("float32", "cpu", None)


def test_a_model_is_built_in_the_dtype_that_was_asked_for(start_host: StartHost) -> None:
    host = build(start_host(), order(dtype="bfloat16"))
    assert tensor(ask(host).result(TIMEOUT_S).outputs["output"]).dtype == torch.bfloat16


def test_what_a_factory_raises_arrives_in_its_own_words(start_host: StartHost) -> None:
    host = start_host()
    host.open(order("bases:broken")).result(TIMEOUT_S)
    with pytest.raises(Invalid, match="RuntimeError: the factory has no weights today") as caught:
        host.build().result(TIMEOUT_S)
    assert [fault.loc for fault in caught.value.faults] == [("source", "kwargs")]


def test_an_example_that_does_not_fit_the_model_is_refused_at_its_build(start_host: StartHost) -> None:
    host = start_host()
    host.open(order(example_inputs={"y": [[1.0, 2.0, 3.0, 4.0]]})).result(TIMEOUT_S)
    with pytest.raises(Invalid) as caught:
        host.build().result(TIMEOUT_S)
    assert caught.value.faults[0].loc[0] == "example_inputs"


def test_the_profile_says_what_a_small_forward_entered_and_what_it_passed_by(start_host: StartHost) -> None:
    example = {"x": [[1.0, 2.0, 3.0, 4.0]]}
    profile = build(start_host(), order("bases:functional", example_inputs=example)).profile().result(TIMEOUT_S)
    assert "called" in profile.entered
    assert "read" not in profile.entered
    assert profile.bypassed == {"read"}


def test_the_profile_is_empty_while_nothing_has_shown_it(host: ModelHost) -> None:
    profile = host.profile().result(TIMEOUT_S)
    assert (profile.entered, profile.bypassed, profile.warnings) == (frozenset(), frozenset(), ())


# ---- inference --------------------------------------------------------------------------------------------------


def test_answers_are_what_the_bare_module_gives_with_those_weights(host: ModelHost, blobs: BlobStore) -> None:
    a, b = put(blobs, "a", seed=1), put(blobs, "b", seed=2)
    for weighted in ([], [(a, 1.0)], [(a, 0.5), (b, -2.0)]):
        answer = ask(host, select(*weighted)).result(TIMEOUT_S)
        assert answer.selections == (select(*weighted),) * len(ROWS)
        assert_same_in_float32(tensor(answer.outputs["output"]), bare(blobs, *weighted)(ROWS).detach())


def test_each_row_of_a_list_has_its_own_adapters(host: ModelHost, blobs: BlobStore) -> None:
    a, b = put(blobs, "a", seed=1), put(blobs, "b", seed=2)
    rows = ([(b, 1.0)], [], [(a, 0.5), (b, 1.0)])
    answer = ask(host, *(select(*weighted) for weighted in rows)).result(TIMEOUT_S)
    assert answer.selections == tuple(select(*weighted) for weighted in rows)
    expected = torch.cat([bare(blobs, *weighted)(ROWS[n : n + 1]) for n, weighted in enumerate(rows)]).detach()
    assert_same_in_float32(tensor(answer.outputs["output"]), expected)


def test_an_answer_says_how_long_it_waited_and_ran(host: ModelHost, blobs: BlobStore) -> None:
    answer = ask(host, select((put(blobs, "a"), 1.0))).result(TIMEOUT_S)
    assert answer.queue_ms >= 0
    assert answer.load_ms > 0
    assert answer.forward_ms > 0


def test_what_does_not_fit_the_model_is_said_with_its_place(host: ModelHost) -> None:
    with pytest.raises(Invalid) as caught:
        ask(host, outputs=("nowhere",)).result(TIMEOUT_S)
    assert caught.value.faults[0].loc == ("outputs", "nowhere")
    with pytest.raises(Invalid) as caught:
        ask(host, BASE, BASE).result(TIMEOUT_S)
    assert caught.value.faults
    with pytest.raises(Invalid, match="mat1 and mat2"):
        ask(host, x=torch.ones(2, 5)).result(TIMEOUT_S)
    assert ask(host).result(TIMEOUT_S).outputs


def test_what_a_module_raises_that_nobody_foresaw_fails_its_request_alone(start_host: StartHost) -> None:
    host = build(start_host(), order("bases:exiting"))
    with pytest.raises(RuntimeError, match="SystemExit"):
        ask(host, x=-torch.ones(1, 4)).result(TIMEOUT_S)
    assert ask(host, x=torch.ones(1, 4)).result(TIMEOUT_S).outputs


def test_a_request_whose_time_is_over_never_runs(gated_host: ModelHost, gate: Gate) -> None:
    gate.shut()
    runs = ask(gated_host)
    gate.wait_for_arrivals(1)
    late = ask(gated_host, x=ROWS[:2], remaining_s=0.0)
    eventually(lambda: status_of(gated_host).stats.queue.requests == 1 or late.done())
    gate.open()
    with pytest.raises(DeadlinePassed):
        late.result(TIMEOUT_S)
    assert runs.result(TIMEOUT_S).outputs
    assert 2 not in gate.arrivals


def test_more_requests_than_the_queue_takes_are_refused(start_host: StartHost, gate: Gate) -> None:
    host = build(start_host(), order("bases:waiting", HostLimits("cpu", max_queue=1), folder=str(gate.folder)))
    gate.shut()
    runs = ask(host)
    gate.wait_for_arrivals(1)
    waits = ask(host)
    with pytest.raises(Overloaded):
        ask(host).result(TIMEOUT_S)
    assert status_of(host).stats.queue.refused == 1
    gate.open()
    assert all(one.result(TIMEOUT_S).outputs for one in (runs, waits))


def test_a_request_that_is_cancelled_leaves_the_queue_and_never_runs(gated_host: ModelHost, gate: Gate) -> None:
    gate.shut()
    runs = ask(gated_host)
    gate.wait_for_arrivals(1)
    leaves = ask(gated_host, x=ROWS[:2], id=-1)
    eventually(lambda: status_of(gated_host).stats.queue.rows == 2)
    gated_host.cancel(-1)
    eventually(lambda: status_of(gated_host).stats.queue.requests == 0)
    gated_host.cancel(-2)  # nobody knows it, which is no error
    gate.open()
    assert runs.result(TIMEOUT_S).outputs
    assert ask(gated_host).result(TIMEOUT_S).outputs
    assert 2 not in gate.arrivals
    with pytest.raises(CancelledError):
        leaves.result(TIMEOUT_S)


# ---- adapters ---------------------------------------------------------------------------------------------------


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


# ---- how it goes ------------------------------------------------------------------------------------------------


def test_the_status_counts_what_ran(host: ModelHost, blobs: BlobStore) -> None:
    ask(host, select((put(blobs, "a"), 1.0))).result(TIMEOUT_S)
    ask(host).result(TIMEOUT_S)
    status = status_of(host)
    assert status.is_probed
    assert (status.stats.rows_per_forward.sum, status.stats.adapters_per_forward.sum) == (2 * len(ROWS), 1)
    assert (status.stats.adapters.loads, status.stats.adapters.bytes, status.stats.queue.requests) == (1, ONE, 0)
    assert status.stats.adapters.resident == 1


def test_an_adapter_that_its_forward_never_reached_is_inactive(start_host: StartHost, blobs: BlobStore) -> None:
    host = build(start_host(), order("bases:detour"))
    idle = put(blobs, "idle", module=bases.detour(), target_modules=["spare"])
    with pytest.raises(WithoutEffect) as caught:
        ask(host, select((idle, 1.0))).result(TIMEOUT_S)
    assert [fault.loc for fault in caught.value.faults] == [("adapter", "idle@1")]
    assert status_of(host).inactive == {idle.key}


# ---- the end ----------------------------------------------------------------------------------------------------


def test_a_host_that_is_closed_answers_what_is_queued_and_nothing_more(gated_host: ModelHost, gate: Gate) -> None:
    gate.shut()
    runs = ask(gated_host)
    gate.wait_for_arrivals(1)
    waits = ask(gated_host)
    eventually(lambda: status_of(gated_host).stats.queue.requests == 1)
    closed = gated_host.close(OVER)
    refused = ask(gated_host)
    with pytest.raises(Conflict) as caught:
        refused.result(TIMEOUT_S)
    assert (caught.value.detail, caught.value.hint) == (OVER.detail, OVER.hint)
    assert not closed.done()
    gate.open()
    closed.result(TIMEOUT_S)
    assert all(one.result(TIMEOUT_S).outputs for one in (runs, waits))
    assert not gated_host.lost.done()


def test_a_host_that_is_ended_answers_why_to_what_runs_and_what_waits(gated_host: ModelHost, gate: Gate) -> None:
    gate.shut()
    runs = ask(gated_host)
    gate.wait_for_arrivals(1)
    waits = ask(gated_host)
    gated_host.end(OVER)
    for one in (runs, waits, ask(gated_host)):
        with pytest.raises(Conflict, match="was unloaded"):
            one.result(TIMEOUT_S)
    assert not gated_host.lost.done()


def test_a_host_that_is_ended_answers_why_to_every_verb(host: ModelHost, blobs: BlobStore) -> None:
    version = put(blobs, "a")
    assert host.end(OVER)
    asked = [
        ask(host),
        host.profile(),
        host.prepare(version),
        host.attach(version),
        host.load(version, True),
        host.unload([version.key]),
        host.initial_weights(5, FreshWeights(RANDOM_LORA, 0)),
        host.status(),
    ]
    for one in asked:
        with pytest.raises(RegistryError, match="was unloaded"):
            one.result(TIMEOUT_S)
    host.forget([version.key])
    host.cancel(0)
    host.give_up(OVER)
    assert host.end(OVER)


def test_a_host_that_gives_up_answers_why_at_once(gated_host: ModelHost, gate: Gate) -> None:
    gate.shut()
    runs = ask(gated_host)
    gate.wait_for_arrivals(1)
    waits = ask(gated_host)
    eventually(lambda: status_of(gated_host).stats.queue.requests == 1)
    gated_host.give_up(Unavailable("The service is shutting down."))
    for one in (runs, waits):
        with pytest.raises(Unavailable, match="shutting down"):
            one.result(TIMEOUT_S)


def test_a_host_that_was_never_built_can_be_ended(start_host: StartHost) -> None:
    opened, unopened = start_host(), start_host()
    opened.open(order()).result(TIMEOUT_S)
    assert opened.end(OVER)
    assert unopened.end(OVER)
