"""What a front may rely on, whichever way a host's words come: what is built, and what a source is refused with."""

import bases
import pytest
import torch
from engines import TIMEOUT_S, tensor

from models_registry.architecture import describe
from models_registry.errors import (
    Invalid,
)
from service.protocol.host import ModelHost
from tests.transports.conftest import StartHost
from tests.transports.hosts import ask, build, order


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
