"""What a front hears of the texts that a host writes, whichever way its words come."""

from dataclasses import replace
from pathlib import Path

import torch
from engines import TIMEOUT_S
from word_models import save, tiny_llama, word_tokenizer

from models_registry.inputs.values import Inputs
from models_registry.records import HuggingFaceSource
from service.protocol.texts import TextPart
from service.protocol.types import BASE, BuildOrder, InferCall
from tests.transports.conftest import StartHost
from tests.transports.hosts import build, order


def writer(directory: Path) -> BuildOrder:
    save(tiny_llama(), word_tokenizer(), directory / "llama")
    mlp = order()
    base = replace(mlp.base, source=HuggingFaceSource(str(directory / "llama")), task="text-generation")
    return replace(mlp, base=base, model_roots=(str(directory),))


def test_the_parts_of_each_text_are_the_text(start_host: StartHost, tmp_path: Path) -> None:
    host = build(start_host(), writer(tmp_path))
    parts: list[TextPart] = []
    call = InferCall(Inputs(texts=("a b c", "d e")), parameters={"max_new_tokens": 6})
    answer = host.infer(1, call, (BASE,), parts.append).result(TIMEOUT_S)
    for row, text in enumerate(answer.outputs["text"]):
        own = [part for part in parts if part.row == row]
        assert "".join(part.text for part in own) == text
        assert [part.end is not None for part in own] == [False] * (len(own) - 1) + [True]


def test_an_answer_says_what_its_texts_used(start_host: StartHost, tmp_path: Path) -> None:
    host = build(start_host(), writer(tmp_path))
    call = InferCall(Inputs(texts=("a b c", "d e")), parameters={"max_new_tokens": 6})
    (used,) = host.infer(1, call, (BASE,)).result(TIMEOUT_S).used
    assert (used.rows, used.prompt_tokens, used.cached_tokens, used.generated_tokens) == (2, 5, 0, 12)
    assert used.forward_s > 0


def test_rows_of_tokens_count_those_that_their_mask_shows(start_host: StartHost, tmp_path: Path) -> None:
    host = build(start_host(), writer(tmp_path))
    ids, mask = torch.tensor([[5, 6, 7], [5, 6, 7]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
    for tensors, tokens in (({"input_ids": ids}, 6), ({"input_ids": ids, "attention_mask": mask}, 5)):
        (used,) = host.infer(tokens, InferCall(Inputs(tensors)), (BASE,)).result(TIMEOUT_S).used
        assert (used.rows, used.prompt_tokens, used.generated_tokens) == (2, tokens, 0)
    (used,) = host.infer(1, InferCall(Inputs(texts=("a b c", "d"))), (BASE,)).result(TIMEOUT_S).used
    assert used.prompt_tokens == 4


def test_who_does_not_listen_gets_the_same_texts(start_host: StartHost, tmp_path: Path) -> None:
    host = build(start_host(), writer(tmp_path))
    call = InferCall(Inputs(texts=("a b c",)), parameters={"max_new_tokens": 6})
    heard = host.infer(1, call, (BASE,), lambda _: None).result(TIMEOUT_S)
    assert host.infer(2, call, (BASE,)).result(TIMEOUT_S).outputs == heard.outputs
