"""Texts that are continued as they stand, by the unmodified `openai` client."""

from typing import Any

import pytest
from openai import BadRequestError, OpenAI
from scripted_texts import ENDED, Call, Script

from service.protocol.texts import DrawnToken, TokenLogprob, WrittenText

TOKENS = (
    DrawnToken(5, "Aye", -0.5, (TokenLogprob(5, "Aye", -0.5), TokenLogprob(6, "No", -1.5))),
    DrawnToken(7, "!", -0.25, (TokenLogprob(7, "!", -0.25),)),
)


def test_each_prompt_is_continued_n_times_in_order(client: OpenAI, script: Script) -> None:
    script.act = lambda call: call.finish("1", "2", "3", "4")
    answer = client.completions.create(model="tone", prompt=["one", "two"], n=2)
    assert [(choice.index, choice.text) for choice in answer.choices] == [(0, "1"), (1, "2"), (2, "3"), (3, "4")]
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (14, 8)
    (call,) = script.calls
    assert call.call.inputs.texts == ("one", "one", "two", "two")
    assert call.call.chat is False
    assert call.call.parameters == {"max_new_tokens": 16, "shorten": True, "do_sample": True}


@pytest.mark.parametrize(("prompt", "rows"), [([5, 6], ((5, 6),)), ([[5, 6], [7]], ((5, 6), (7,)))])
def test_a_prompt_may_be_token_ids(client: OpenAI, script: Script, prompt: Any, rows: Any) -> None:
    script.act = lambda call: call.finish(*("yes" for _ in rows))
    answer = client.completions.create(model="tone", prompt=prompt)
    assert len(answer.choices) == len(rows)
    (call,) = script.calls
    assert (call.call.inputs.tokens, call.call.inputs.texts) == (rows, ())


def test_a_stream_has_the_text_of_each_choice_and_the_usage(client: OpenAI, script: Script) -> None:
    def act(call: Call) -> None:
        call.write("b", row=1, end=ENDED)
        call.write("a", row=0)
        call.write("A", row=0, end=ENDED)
        call.finish("aA", "b")

    script.act = act
    options: Any = {"include_usage": True}
    *chunks, last = client.completions.create(model="tone", prompt=["x", "y"], stream=True, stream_options=options)
    texts = ["".join(c.choices[0].text for c in chunks if c.choices[0].index == row) for row in (0, 1)]
    assert texts == ["aA", "b"]
    assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] == ["stop", "stop"]
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.total_tokens == 18


def test_probabilities_have_the_older_form(client: OpenAI, script: Script) -> None:
    script.act = lambda call: call.finish("Aye!", ends=(WrittenText("stop", 1, 2, 0, TOKENS),))
    logprobs = client.completions.create(model="tone", prompt="x", logprobs=2).choices[0].logprobs
    assert logprobs is not None
    assert (logprobs.tokens, logprobs.text_offset) == (["Aye", "!"], [0, 3])
    assert logprobs.top_logprobs == [{"Aye": -0.5, "No": -1.5}, {"!": -0.25}]
    parameters = script.calls[0].call.parameters
    assert parameters is not None
    assert (parameters["logprobs"], parameters["top_logprobs"]) == (True, 2)


def test_offsets_go_on_from_chunk_to_chunk(client: OpenAI, script: Script) -> None:
    def act(call: Call) -> None:
        call.write("Aye", 0, None, TOKENS[0])
        call.write("!", 0, ENDED, TOKENS[1])
        call.finish("Aye!")

    script.act = act
    chunks = list(client.completions.create(model="tone", prompt="x", logprobs=2, stream=True))
    offsets = [at for c in chunks if c.choices[0].logprobs for at in c.choices[0].logprobs.text_offset or ()]
    assert offsets == [0, 3]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": [1, -2]}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": [[1], [2**40]]}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"echo": True}, "echo"),
        ({"best_of": 2}, "best_of"),
        ({"suffix": "the end"}, "suffix"),
        ({"messages": []}, "messages"),
    ],
)
def test_what_is_wrong_is_a_bad_request_that_names_the_field(client: OpenAI, body: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequestError) as raised:
        client.completions.create(model="tone", prompt=body.pop("prompt", "x"), extra_body=body)
    assert raised.value.param == param
