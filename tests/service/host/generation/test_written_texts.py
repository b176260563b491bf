"""What a caller's parameters do to a text that is written among others."""

from collections.abc import Iterator
from typing import Any

import pytest
from engines import TIMEOUT_S
from tiny_tokenizers import byte_level
from writing import WritingHost

from models_registry.errors import Conflict, Invalid
from service.protocol.texts import TextPart

SAMPLED: dict[str, Any] = {"max_new_tokens": 8, "do_sample": True, "temperature": 3.0, "seed": 1}


@pytest.fixture(scope="module")
def writing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WritingHost]:
    tokenizer = byte_level()
    tokenizer.model_max_length = 64
    writing = WritingHost(tmp_path_factory.mktemp("host"), tokenizer=tokenizer)
    yield writing
    writing.host.end(Conflict("the test is over"))


def test_a_sampled_text_follows_from_its_seed_and_place_alone(writing: WritingHost) -> None:
    asked = [writing.ask("a", "a", "a", **SAMPLED), writing.ask("b", max_new_tokens=8, do_sample=True)]
    together, _ = (one.result(TIMEOUT_S).outputs["text"] for one in asked)
    assert isinstance(together, tuple)
    assert len(set(together)) == 3
    assert writing.write("a", **SAMPLED) == together[:1]


@pytest.mark.parametrize(
    "raw",
    [
        {"repetition_penalty": 1.5},
        {"frequency_penalty": 2.0, "presence_penalty": 1.0},
        {"no_repeat_ngram_size": 1},
        {"logit_bias": {"70": 100.0}},
        {"min_new_tokens": 8},
        {"stop_token_ids": list(range(60, 100))},
        {"stop": ["a", "e"], "ignore_eos": True},
        {"do_sample": True, "seed": 2, "top_k": 20, "top_p": 0.9, "min_p": 0.01, "temperature": 2.0},
    ],
)
def test_a_text_is_what_generate_makes_of_the_same_parameters(writing: WritingHost, raw: dict[str, Any]) -> None:
    raw = {"max_new_tokens": 8, **raw}
    written = writing.write("the sea", "is", **raw)
    assert written == writing.generate("the sea", "is", **raw)


def test_a_text_is_held_to_its_form_and_ends_with_it(writing: WritingHost) -> None:
    choice = ['{"a": 1}', '{"b": [true, null]}']
    raw: dict[str, Any] = {**SAMPLED, "max_new_tokens": 20, "constraint": {"choice": choice}}
    answer = writing.ask("a", "b", "c", "d", **raw).result(TIMEOUT_S)
    assert set(answer.outputs["text"]) == set(choice)
    assert {text.finish_reason for text in answer.texts} == {"stop"}


def test_a_form_that_can_not_be_compiled_is_refused(writing: WritingHost) -> None:
    with pytest.raises(Invalid, match="unclosed"):
        writing.write("a", constraint={"regex": "[a"})


def test_each_token_has_its_logprob_where_that_was_asked_for(writing: WritingHost) -> None:
    parts: list[TextPart] = []
    raw: dict[str, Any] = {"max_new_tokens": 4, "logprobs": True, "top_logprobs": 2, "ignore_eos": True}
    asked = writing.ask("a", on_part=parts.append, **raw)
    (written,) = asked.result(TIMEOUT_S).texts
    assert len(written.logprobs) == written.tokens == 4
    assert all(token.logprob <= 0 and len(token.alternatives) == 2 for token in written.logprobs)
    assert all(token.id == token.alternatives[0].id for token in written.logprobs)
    assert [token for part in parts for token in part.tokens] == list(written.logprobs)


def test_a_stop_string_is_never_shown_in_parts(writing: WritingHost) -> None:
    whole = writing.write("a", **SAMPLED, ignore_eos=True)[0]
    parts: list[TextPart] = []
    asked = writing.ask("a", **SAMPLED, ignore_eos=True, stop=[whole[3:6]], on_part=parts.append)
    answer = asked.result(TIMEOUT_S)
    assert answer.outputs["text"] == (whole[: whole.index(whole[3:6])],)
    assert "".join(part.text for part in parts) == answer.outputs["text"][0]
    assert answer.texts[0].finish_reason == "stop"
