"""What a request needs of a replica."""

import torch
from engines import version_of

from models_registry.inputs.values import Inputs
from service.cluster.request_needs import need_of
from service.protocol import codec
from service.protocol.frames import joined_frame
from service.protocol.types import BASE, InferCall, Part, Selection


def sent(call: InferCall, *adapters: str) -> bytes:
    versions = [version_of(name) for name in adapters]
    selections = tuple(Selection((Part(version, version.key, 1.0),)) for version in versions) or (BASE,)
    message = codec.infer_message(1, call, selections)
    return joined_frame(codec.encode(message), list(call.inputs.tensors.values()))


def test_each_version_is_named_once_by_its_reference() -> None:
    need = need_of(sent(InferCall(Inputs(texts=("a", "b", "c"))), "tone", "tone", "rude"))
    assert need.versions == ("tone@1", "rude@1")


def test_rows_are_counted_in_tensors_and_in_texts() -> None:
    assert need_of(sent(InferCall(Inputs({"x": torch.zeros(5, 4)})))).rows == 5
    assert need_of(sent(InferCall(Inputs(texts=("a", "b"))))).rows == 2


def test_prompts_that_begin_alike_share_prefixes() -> None:
    long, longer = "word " * 100, "word " * 100 + "other " * 200
    first, second = (
        need_of(sent(InferCall(Inputs(texts=(text,)), parameters={"max_new_tokens": 1}), "tone"))
        for text in (long, longer)
    )
    assert len(first.prefixes) == 1
    assert first.prefixes[0] == second.prefixes[0]


def test_the_same_prompt_has_other_prefixes_with_another_adapter() -> None:
    call = InferCall(Inputs(texts=("word " * 100,)), parameters={"max_new_tokens": 1})
    assert need_of(sent(call, "tone")).prefixes != need_of(sent(call, "rude")).prefixes


def test_texts_that_are_not_continued_have_no_prefixes() -> None:
    assert need_of(sent(InferCall(Inputs(texts=("word " * 100,))), "tone")).prefixes == ()
