"""Chats by the unmodified `openai` client: what is asked of the host, what comes back, whole and as a stream."""

import math
from typing import Any

import httpx
import pytest
from openai import APIError, BadRequestError, NotFoundError, OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam
from scripted_texts import ENDED, Call, Script

from service.protocol.errors import HostLost
from service.protocol.texts import DrawnToken, TokenLogprob, WrittenText

MESSAGES: list[ChatCompletionMessageParam] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Why is the sea "}, {"type": "text", "text": "salty?"}]},
]
CUT = WrittenText("length", prompt_tokens=7, tokens=5, cached_tokens=3)
AYE = DrawnToken(5, "Aye", math.log(0.5), (TokenLogprob(5, "Aye", math.log(0.5)), TokenLogprob(6, "é", math.log(0.25))))
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
        },
    }
]


def ask(client: OpenAI, **others: Any) -> ChatCompletion:
    asked: dict[str, Any] = {"model": "tone", "messages": MESSAGES, **others}
    return client.chat.completions.create(**asked)


def test_a_chat_is_answered_by_the_adapter_that_model_names(client: OpenAI, script: Script) -> None:
    script.act = lambda call: call.finish("Yo ho ho!", ends=(CUT,))
    answer = ask(client)
    (choice,) = answer.choices
    assert (answer.object, answer.model, choice.index) == ("chat.completion", "tone", 0)
    assert (choice.message.role, choice.message.content) == ("assistant", "Yo ho ho!")
    assert choice.finish_reason == "length"
    assert choice.message.tool_calls is None
    usage = answer.usage
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (7, 5, 12)
    assert usage.prompt_tokens_details.cached_tokens == 3
    (call,) = script.calls
    ((system, user),) = call.call.inputs.chats
    assert (system["role"], user["content"]) == ("system", "Why is the sea salty?")


@pytest.mark.parametrize(
    ("model", "version"),
    [("tone", 2), ("tone@1", 1), ("tone@prod", 1), ("mlp/tone@latest", 2), ("mlp", None)],
)
def test_the_answer_names_the_exact_version(
    client: OpenAI, http: httpx.Client, script: Script, model: str, version: int | None
) -> None:
    script.act = lambda call: call.finish("aye")
    raw = client.chat.completions.with_raw_response.create(model=model, messages=MESSAGES)
    fingerprint = raw.parse().system_fingerprint
    if version is None:
        assert "x-adapter" not in raw.headers
        assert fingerprint == "mlp"
    else:
        assert raw.headers["x-adapter"] == f"tone@{version}"
        digest = http.get("/adapters/tone").json()["versions"][version - 1]["digest"].removeprefix("sha256:")
        assert fingerprint == f"tone@{version}:{digest[:12]}"
    assert raw.headers["x-request-id"]


def test_a_composition_stands_in_extra_body(client: OpenAI, script: Script) -> None:
    script.act = lambda call: call.finish("aye")
    raw = client.chat.completions.with_raw_response.create(
        model="mlp", messages=MESSAGES, extra_body={"adapter": {"tone@1": 0.5, "tone@2": -1.0}}
    )
    assert raw.headers["x-adapter"] == '{"tone@1": 0.5, "tone@2": -1.0}'
    assert [part.weight for part in script.calls[0].selections[0].parts] == [0.5, -1.0]
    with pytest.raises(BadRequestError) as raised:
        ask(client, extra_body={"adapter": {"tone@1": 0.5}})
    assert raised.value.param == "adapter"


def test_what_is_asked_for_becomes_our_parameters(client: OpenAI, script: Script) -> None:
    script.act = lambda call: call.finish("aye", "aye")
    ask(
        client,
        max_completion_tokens=9,
        temperature=0.5,
        top_p=0.9,
        n=2,
        stop=["\n"],
        seed=-1,
        presence_penalty=0.5,
        frequency_penalty=0.25,
        logit_bias={"5": -100},
        logprobs=True,
        top_logprobs=2,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
        user="somebody",
        extra_body={"top_k": 3, "min_p": 0.1, "repetition_penalty": 1.1, "min_tokens": 1, "stop_token_ids": [2]},
    )
    (call,) = script.calls
    assert len(call.call.inputs.chats) == 2
    assert call.call.parameters == {
        "max_new_tokens": 9,
        "min_new_tokens": 1,
        "do_sample": True,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "min_p": 0.1,
        "seed": 2**63 - 1,
        "stop": ["\n"],
        "stop_token_ids": [2],
        "presence_penalty": 0.5,
        "frequency_penalty": 0.25,
        "repetition_penalty": 1.1,
        "logit_bias": {"5": -100.0},
        "logprobs": True,
        "top_logprobs": 2,
        "constraint": {"json_schema": {"type": "object"}},
    }


@pytest.mark.parametrize(
    ("asked", "samples"),
    [
        ({}, None),
        ({"temperature": 0, "top_p": 0.5}, None),
        ({"temperature": 0.7}, True),
        ({"top_p": 0.5}, True),
        ({"seed": 1}, True),
        ({"n": 2}, True),
    ],
)
def test_texts_are_greedy_unless_chance_is_asked_for(
    client: OpenAI, script: Script, asked: dict[str, Any], samples: bool | None
) -> None:
    script.act = lambda call: call.finish(*["aye"] * asked.get("n", 1))
    ask(client, **asked)
    parameters = script.calls[0].call.parameters
    assert parameters is not None
    assert parameters.get("do_sample") is samples
    assert (parameters["max_new_tokens"], parameters["shorten"]) == (4096, True)


def test_a_stream_says_who_writes_then_the_text_then_how_it_ended(client: OpenAI, script: Script) -> None:
    def act(call: Call) -> None:
        call.write("Yo ", row=1)
        call.write("Yo ho", row=0, end=ENDED)
        call.write("hi", row=1, end=ENDED)
        call.finish("Yo ho", "Yo hi")

    script.act = act
    with client.chat.completions.stream(
        model="tone", messages=MESSAGES, n=2, stream_options={"include_usage": True}
    ) as stream:
        *_, _ = stream
        answer = stream.get_final_completion()
    assert [choice.message.content for choice in answer.choices] == ["Yo ho", "Yo hi"]
    assert [choice.finish_reason for choice in answer.choices] == ["stop", "stop"]
    assert {choice.message.role for choice in answer.choices} == {"assistant"}
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 4)
    assert answer.system_fingerprint is not None
    assert answer.system_fingerprint.startswith("tone@2:")


def test_a_stream_is_events_of_openais_form(http: httpx.Client, script: Script) -> None:
    def act(call: Call) -> None:
        call.write("aye", end=ENDED)
        call.finish("aye")

    script.act = act
    body = {"model": "tone", "messages": MESSAGES, "stream": True}
    response = http.post("/v1/chat/completions", json=body)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-adapter"] == "tone@2"
    lines = [line for line in response.text.split("\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    assert '"delta":{"content":"aye"},"logprobs":null,"finish_reason":null' in lines[1]


def test_a_stream_that_breaks_ends_with_an_error(client: OpenAI, script: Script) -> None:
    def act(call: Call) -> None:
        call.write("half")
        call.fail(HostLost("mlp", "SIGKILL"))

    script.act = act
    with pytest.raises(APIError, match="SIGKILL"):
        list(client.chat.completions.create(model="tone", messages=MESSAGES, stream=True))


def test_tokens_are_returned_with_their_probabilities(client: OpenAI, script: Script) -> None:
    def act(call: Call) -> None:
        if call.on_part is not None:
            call.write("Aye", 0, ENDED, AYE)
        call.finish("Aye", ends=(WrittenText("stop", 7, 1, 0, (AYE,)),))

    script.act = act
    whole = ask(client, logprobs=True, top_logprobs=2).choices[0].logprobs
    assert whole is not None
    assert whole.content is not None
    (token,) = whole.content
    assert (token.token, token.bytes, math.exp(token.logprob)) == ("Aye", [65, 121, 101], pytest.approx(0.5))
    assert [one.token for one in token.top_logprobs] == ["Aye", "é"]
    chunks = list(client.chat.completions.create(model="tone", messages=MESSAGES, logprobs=True, stream=True))
    (streamed,) = [chunk.choices[0].logprobs for chunk in chunks if chunk.choices[0].logprobs]
    assert streamed.content == whole.content


def test_tools_reach_the_template_and_calls_are_returned(client: OpenAI, script: Script) -> None:
    written = 'I look. <tool_call>\n{"name": "weather", "arguments": {"place": "Lisbon"}}\n</tool_call>'

    def act(call: Call) -> None:
        if call.on_part is not None:
            for character in written:
                call.write(character)
            call.write("", end=ENDED)
        call.finish(written)

    script.act = act
    (choice,) = ask(client, tools=TOOLS).choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "I look. "
    assert choice.message.tool_calls is not None
    (called,) = choice.message.tool_calls
    assert called.type == "function"
    assert (called.function.name, called.function.arguments) == ("weather", '{"place": "Lisbon"}')
    assert script.calls[0].call.inputs.tools[0]["function"]["name"] == "weather"

    with client.chat.completions.stream(model="tone", messages=MESSAGES, tools=TOOLS) as stream:
        *_, _ = stream
        streamed = stream.get_final_completion().choices[0]
    assert streamed.message.content == "I look. "
    assert streamed.message.tool_calls is not None
    assert streamed.message.tool_calls[0].function.arguments == '{"place": "Lisbon"}'
    assert streamed.finish_reason == "tool_calls"

    after: list[Any] = [*MESSAGES, choice.message, {"role": "tool", "tool_call_id": called.id, "content": "Sun."}]
    ask(client, messages=after, tools=TOOLS)
    *_, said, answered = script.calls[-1].call.inputs.chats[0]
    assert said["tool_calls"][0]["function"] == {"name": "weather", "arguments": {"place": "Lisbon"}}
    assert answered == {"role": "tool", "tool_call_id": called.id, "content": "Sun."}


def test_a_required_call_is_a_constraint_and_is_returned_as_a_call(client: OpenAI, script: Script) -> None:
    script.act = lambda call: call.finish('{"name": "weather", "arguments": {}}')
    (choice,) = ask(client, tools=TOOLS, tool_choice="required").choices
    assert choice.message.content is None
    assert choice.message.tool_calls is not None
    parameters = script.calls[0].call.parameters
    assert parameters is not None
    schema = parameters["constraint"]["json_schema"]
    assert schema["properties"]["name"] == {"const": "weather"}
    assert schema["properties"]["arguments"] == TOOLS[0]["function"]["parameters"]


def test_calls_are_read_in_the_form_of_the_models_chat_template(client: OpenAI, script: Script) -> None:
    written = '[TOOL_CALLS]weather[ARGS]{"place": "Lisbon"}'

    def act(call: Call) -> None:
        if call.on_part is not None:
            call.write(written, end=ENDED)
        call.finish(written)

    script.act = act
    (choice,) = ask(client, model="caller", tools=TOOLS).choices
    assert choice.message.content is None
    with client.chat.completions.stream(model="caller", messages=MESSAGES, tools=TOOLS) as stream:
        *_, _ = stream
        streamed = stream.get_final_completion().choices[0]
    for message in (choice.message, streamed.message):
        assert message.tool_calls is not None
        (called,) = message.tool_calls
        assert called.type == "function"
        assert (called.function.name, called.function.arguments) == ("weather", '{"place": "Lisbon"}')


def test_text_that_only_looks_like_a_call_stays_text(client: OpenAI, script: Script) -> None:
    for written in ("a < b", "<tool_call>not JSON</tool_call>", "<tool_call>", "<tool_call>[]</tool_call>"):
        script.act = lambda call, written=written: call.finish(written)
        (choice,) = ask(client, tools=TOOLS).choices
        assert (choice.message.content, choice.finish_reason) == (written, "stop")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "king", "content": "a"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": "a", "mood": "glad"}]}, "messages[0].mood"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"functions": [{"name": "weather"}]}, "functions"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "none"}}}, "tool_choice"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"modalities": ["audio"]}, "modalities[0]"),
    ],
)
def test_what_is_wrong_is_a_bad_request_that_names_the_field(client: OpenAI, body: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequestError) as raised:
        ask(client, messages=body.pop("messages", MESSAGES), extra_body=body)
    assert raised.value.param == param
    assert raised.value.type == "invalid_request_error"


@pytest.mark.parametrize("model", ["none", "tone@7", "none/tone", "mlp/none", "tone@canary"])
def test_a_model_that_there_isnt_is_not_found(client: OpenAI, model: str) -> None:
    with pytest.raises(NotFoundError) as raised:
        ask(client, model=model)
    assert (raised.value.param, raised.value.code) == ("model", "model_not_found")
