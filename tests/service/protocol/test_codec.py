"""What the front and a host tell each other means the same on both sides."""

from collections.abc import Mapping
from concurrent.futures import CancelledError
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import torch
from engines import version_of
from hypothesis import given
from hypothesis import strategies as st

from models_registry import errors
from models_registry.inputs.values import Inputs
from models_registry.records import BaseModel, Fault, PythonSource
from service.protocol import codec
from service.protocol.errors import HostLost
from service.protocol.frames import frame
from service.protocol.messages import Answered, Failed, Infer, Written
from service.protocol.texts import DrawnToken, TextPart, TokenLogprob, WrittenText
from service.protocol.types import (
    BASE,
    BuildOrder,
    FreshWeights,
    HostAnswer,
    HostLimits,
    InferCall,
    ModelProfile,
    Part,
    Selection,
    Used,
)

NUMBERS = st.floats(allow_nan=False) | st.integers(-(10**30), 10**30)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
CONFIGS = st.dictionaries(st.text(max_size=8), VALUES, max_size=4)


def payload_of(tensors: list[torch.Tensor]) -> bytearray:
    return bytearray(b"".join(frame(b"", tensors)[1:]))


def arrived(call: InferCall, selections: tuple[Selection, ...]) -> tuple[InferCall, tuple[Selection, ...]]:
    message = codec.decode_from_front(codec.encode(codec.infer_message(7, call, selections)))
    assert isinstance(message, Infer)
    assert message.id == 7
    versions = {part.key: part.version for selection in selections for part in selection.parts}
    payload = payload_of(list(call.inputs.tensors.values()))
    return codec.infer_call(message, payload), codec.selections_of(message, versions)


def failed(error: BaseException) -> Exception:
    message = codec.decode_from_host(codec.encode(codec.failed_message(3, error)))
    assert isinstance(message, Failed)
    assert message.id == 3
    return codec.error_of(message)


@given(st.none() | CONFIGS, st.none() | st.lists(st.text(max_size=5), max_size=3), st.none() | st.floats(0, 1e9))
def test_a_call_arrives_with_all_that_it_asks(
    parameters: Mapping[str, Any] | None, outputs: list[str] | None, remaining_s: float | None
) -> None:
    call = InferCall(
        Inputs(texts=("a", "\0", "漢")),
        outputs=None if outputs is None else tuple(outputs),
        parameters=parameters or None,
        chat=True,
        per_row=True,
        remaining_s=remaining_s,
        alone=True,
        team="fraud",
    )
    assert arrived(call, (BASE,))[0] == call


def test_tensors_and_chats_arrive_in_their_order() -> None:
    tensors = {"b": torch.tensor([[True]]), "a": torch.ones(2, 0), "c": torch.tensor(1.5, dtype=torch.bfloat16)}
    chats = (({"role": "user", "content": "hi"}, {"role": "assistant", "content": "\0 漢"}), ({"role": "user"},))
    call, _ = arrived(InferCall(Inputs(tensors, chats=chats)), (BASE,))
    assert list(call.inputs.tensors) == ["b", "a", "c"]
    assert all(torch.equal(call.inputs.tensors[name], tensor) for name, tensor in tensors.items())
    assert call.inputs.chats == chats


def test_selections_arrive_with_the_versions_that_the_host_was_told_of() -> None:
    one, other = version_of("a"), version_of("b")
    selections = (
        BASE,
        Selection((Part(one, one.key, 1.0),)),
        Selection((Part(one, one.key, 0.1), Part(other, other.key, -2.0)), composed=True),
    )
    _, came = arrived(InferCall(Inputs()), selections)
    assert came == selections
    assert [selection.composed for selection in came] == [False, False, True]


def test_an_answer_arrives_with_the_selection_that_made_each_row() -> None:
    version = version_of("a")
    one = Selection((Part(version, version.key, 1.0),))
    asked = (one, BASE, one)
    outputs = {"y": torch.full((3, 2), float("nan")), "text": ("a", "b", "c"), "z": torch.zeros(3, 0)}
    message, tensors = codec.answered_message(5, asked, HostAnswer(asked, outputs, 1.0, 2.0, 3.0))
    decoded = codec.decode_from_host(codec.encode(message))
    assert isinstance(decoded, Answered)
    answer = codec.host_answer(decoded, asked, payload_of(tensors))
    assert answer.selections == asked
    assert (answer.queue_ms, answer.load_ms, answer.forward_ms) == (1.0, 2.0, 3.0)
    assert list(answer.outputs) == ["y", "text", "z"]
    assert answer.outputs["text"] == ("a", "b", "c")
    y, z = answer.outputs["y"], answer.outputs["z"]
    assert isinstance(y, torch.Tensor)
    assert isinstance(z, torch.Tensor)
    assert bool(y.isnan().all())
    assert (y.shape, z.shape) == ((3, 2), (3, 0))


def test_a_part_of_a_text_arrives_with_its_tokens_and_its_end() -> None:
    token = DrawnToken(7, "ship", -0.5, (TokenLogprob(8, "\N{REPLACEMENT CHARACTER}", float("-inf")),))
    written = Written(3, TextPart(2, "a ship", (token,), WrittenText("length", 5, 4, 1, (token,))))
    assert codec.decode_from_host(codec.encode(written)) == written


def test_an_answer_arrives_with_how_its_texts_ended_and_what_was_used() -> None:
    texts = (WrittenText("stop", 3, 2), WrittenText("length", 5, 4, 1, (DrawnToken(7, "ship", -0.5),)))
    used = (Used(2, 8, 1, 6, 0.25),)
    answer = HostAnswer((BASE, BASE), {"text": ("a", "b")}, 1.0, 2.0, 3.0, texts, used)
    message, _ = codec.answered_message(5, (BASE,), answer)
    decoded = codec.decode_from_host(codec.encode(message))
    assert isinstance(decoded, Answered)
    came = codec.host_answer(decoded, (BASE,), bytearray())
    assert (came.texts, came.used) == (texts, used)


@given(CONFIGS, st.datetimes(timezones=st.just(UTC)))
def test_a_version_has_the_same_key_and_content_on_both_sides(config: Mapping[str, Any], at: datetime) -> None:
    version = replace(version_of("a"), config=config, metadata=config, created_at=at)
    (came,) = codec.VERSIONS.validate_json(codec.VERSIONS.dump_json((version,)))
    assert came == version
    assert came.key == version.key


def test_a_version_that_was_made_in_another_zone_has_the_same_key() -> None:
    at = datetime(2026, 1, 1, 12, 30, 1, 5, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    version = replace(version_of("a"), created_at=at)
    (came,) = codec.VERSIONS.validate_json(codec.VERSIONS.dump_json((version,)))
    assert came.key == version.key


@given(CONFIGS)
def test_what_a_build_is_given_arrives_as_it_was_sent(kwargs: Mapping[str, Any]) -> None:
    base = BaseModel("m", PythonSource("a:b", kwargs), None, None, None, None, True, datetime(2026, 1, 1, tzinfo=UTC))
    order = BuildOrder(base, ("/models",), ("a:*",), HostLimits("cpu"))
    assert codec.BUILD_ORDER.validate_json(codec.BUILD_ORDER.dump_json((order,))) == (order,)


@given(CONFIGS)
def test_what_initial_weights_are_asked_by_arrives_as_it_was_sent(config: Mapping[str, Any]) -> None:
    fresh = FreshWeights(config, 3, ("unknown",), True, 4)
    assert codec.FRESH.validate_json(codec.FRESH.dump_json((1, fresh))) == (1, fresh)


def test_a_profile_arrives_with_sets() -> None:
    profile = ModelProfile(frozenset({"a", "b"}), frozenset(), ("careful",))
    assert codec.PROFILE.validate_json(codec.PROFILE.dump_json(profile)) == profile


TREE = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.RegistryError)]


@pytest.mark.parametrize("cls", TREE)
def test_every_error_arrives_as_itself(cls: type[errors.RegistryError]) -> None:
    error = cls("a sentence") if cls is errors.Damaged else cls("a sentence", hint="a hint")
    came = failed(error)
    assert type(came) is cls
    assert (came.detail, came.hint) == (error.detail, error.hint)


def test_faults_arrive_with_their_places() -> None:
    faults = (Fault(("inputs", 3, "x"), "too long"), Fault((), "everything"))
    came = failed(errors.Unsupported("wrong", faults, hint="try"))
    assert isinstance(came, errors.Unsupported)
    assert (came.faults, came.hint) == (faults, "try")


def test_damage_arrives_with_its_digest() -> None:
    came = failed(errors.Damaged("0" * 64, "are gone"))
    assert isinstance(came, errors.Damaged)
    assert (came.digest, came.found) == ("0" * 64, "are gone")


def test_what_is_not_of_the_tree_arrives_as_what_it_says() -> None:
    assert str(failed(KeyError("x"))) == "KeyError: 'x'"
    assert str(failed(SystemExit(3))) == "SystemExit: 3"
    assert type(failed(RuntimeError("as it is"))) is RuntimeError
    assert isinstance(failed(CancelledError()), CancelledError)
    assert type(failed(HostLost("m", "SIGKILL"))) is errors.Unavailable


def test_words_that_are_no_text_arrive_all_the_same() -> None:
    odd = "no file \udcff"
    came = failed(errors.Invalid(odd, [Fault((odd,), odd)], hint=odd))
    assert isinstance(came, errors.Invalid)
    assert {came.detail, came.hint, came.faults[0].message, came.faults[0].loc[0]} == {"no file \\udcff"}
    assert str(failed(RuntimeError(odd))) == "no file \\udcff"


def test_the_reason_of_an_end_is_reported_by_a_verb() -> None:
    came = codec.reason_of(codec.reason_bytes(errors.Conflict("unloaded", hint="load it")))
    assert type(came) is errors.Conflict
    assert (came.detail, came.hint) == ("unloaded", "load it")
