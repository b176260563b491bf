"""Which requests are taken for those that end their hosts."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from models_registry.inputs.values import Inputs
from service.front.access.caller import Caller, called_by
from service.front.admission.suspects import Suspects, content_digest
from service.front.requests import InferRequest
from service.protocol.errors import RequestEndsHost

REQUEST = InferRequest("m", Inputs({"x": torch.tensor([[1.0, 2.0]])}), "tone", parameters={"top_p": 0.5})


def test_a_request_is_refused_once_two_hosts_died_under_it() -> None:
    suspects = Suspects()
    assert not suspects.suspects(REQUEST)
    suspects.strike(REQUEST, "one")
    assert suspects.suspects(REQUEST)
    with pytest.raises(RequestEndsHost, match="'m' twice"):
        suspects.strike(REQUEST, "two")
    with pytest.raises(RequestEndsHost):
        suspects.suspects(REQUEST)


def test_a_request_that_was_answered_is_no_suspect_any_more() -> None:
    suspects = Suspects()
    suspects.strike(REQUEST, "one")
    suspects.acquit(REQUEST)
    assert not suspects.suspects(REQUEST)
    suspects.strike(REQUEST, "two")
    suspects.acquit(replace(REQUEST, model="other"))
    assert suspects.suspects(REQUEST)


def test_equal_requests_that_shared_a_host_are_struck_by_its_death_once() -> None:
    suspects = Suspects()
    for _ in range(3):
        suspects.strike(REQUEST, "one")
    assert suspects.suspects(REQUEST)


def test_one_name_is_another_adapter_for_another_team() -> None:
    with called_by(Caller("fraud", "caller")):
        theirs = content_digest(REQUEST)
    assert theirs != content_digest(REQUEST)
    assert theirs == content_digest(replace(REQUEST, adapters="fraud:tone"))


def test_the_same_content_is_the_same_request_for_every_caller() -> None:
    again = InferRequest(
        "m", Inputs({"x": torch.tensor([[1.0, 2.0]])}), "tone", parameters={"top_p": 0.5}, deadline=3.0
    )
    assert content_digest(again) == content_digest(REQUEST)


@pytest.mark.parametrize(
    "change",
    [
        lambda request: replace(request, model="other"),
        lambda request: replace(request, adapters=None),
        lambda request: replace(request, adapters=("tone",)),
        lambda request: replace(request, adapters={"tone": 0.5}),
        lambda request: replace(request, outputs=("y",)),
        lambda request: replace(request, parameters={"top_p": 0.6}),
        lambda request: replace(request, parameters=None),
        lambda request: replace(request, chat=True),
        lambda request: replace(request, inputs=Inputs({"x": torch.tensor([[1.0, 2.5]])})),
        lambda request: replace(request, inputs=Inputs({"x": torch.tensor([1.0, 2.0])})),
        lambda request: replace(request, inputs=Inputs({"y": torch.tensor([[1.0, 2.0]])})),
        lambda request: replace(request, inputs=Inputs({"x": torch.tensor([[1.0, 2.0]]).view(torch.int32)})),
        lambda request: replace(request, inputs=Inputs(texts=("a",))),
    ],
)
def test_other_content_is_another_request(change: Callable[[InferRequest], InferRequest]) -> None:
    assert content_digest(change(REQUEST)) != content_digest(REQUEST)


@pytest.mark.parametrize(
    "request_",
    [
        replace(REQUEST, parameters={"top_k": 10**30, "top_p": float("inf"), "stop": ["\0", "漢"]}),
        replace(REQUEST, adapters=(None, "a", {"a": float("nan"), "b": 1e300})),
        replace(REQUEST, inputs=Inputs({"a": torch.ones(0, 3), "b": torch.tensor(True), "c": torch.ones(3, 4).T})),
        replace(REQUEST, inputs=Inputs({"x": torch.tensor([1.0], dtype=torch.bfloat16)})),
        replace(REQUEST, inputs=Inputs(chats=(({"role": "user", "content": "漢"},),))),
    ],
)
def test_whatever_may_be_asked_has_a_digest(request_: InferRequest) -> None:
    assert content_digest(request_) == content_digest(replace(request_, deadline=1.0))
