"""Responses by the unmodified `openai` client: the same chats in other words, whole and as a stream."""

from itertools import groupby
from typing import Any

import httpx
import pytest
from openai import APIError, BadRequestError, NotFoundError, OpenAI
from openai.types.responses import Response
from scripted_texts import ENDED, Call, Script

from service.protocol.errors import HostLost
from service.protocol.texts import WrittenText

CUT = WrittenText("length", prompt_tokens=7, tokens=5, cached_tokens=3)
TOOLS: list[Any] = [
    {
        "type": "function",
        "name": "weather",
        "description": "The weather at a place.",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
        "strict": True,
    }
]
CALL = '<tool_call>{"name": "weather", "arguments": {"place": "Lisbon"}}</tool_call>'


def ask(client: OpenAI, **others: Any) -> Response:
    asked: dict[str, Any] = {"model": "tone", "input": "Why is the sea salty?", **others}
    return client.responses.create(**asked)


def test_a_response_is_a_chat_in_other_words(client: OpenAI, script: Script) -> None:
    script.act = lambda call: call.finish("Yo ho ho!")
    answer = ask(client, instructions="Be brief.", max_output_tokens=9, temperature=0.5, top_p=0.9, user="somebody")
    assert (answer.object, answer.model, answer.status, answer.error) == ("response", "tone", "completed", None)
    assert answer.output_text == "Yo ho ho!"
    usage = answer.usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (7, 2, 9)
    assert usage.input_tokens_details.cached_tokens == 3
    (call,) = script.calls
    ((system, user),) = call.call.inputs.chats
    assert (system["role"], system["content"]) == ("system", "Be brief.")
    assert (user["role"], user["content"]) == ("user", "Why is the sea salty?")
    assert call.call.parameters == {"max_new_tokens": 9, "do_sample": True, "temperature": 0.5, "top_p": 0.9}


def test_the_exact_version_stands_in_metadata_and_a_header(client: OpenAI, http: httpx.Client, script: Script) -> None:
    script.act = lambda call: call.finish("aye")
    raw = client.responses.with_raw_response.create(model="tone@prod", input="a", metadata={"topic": "sea"})
    digest = http.get("/adapters/tone").json()["versions"][0]["digest"].removeprefix("sha256:")
    assert raw.headers["x-adapter"] == "tone@1"
    assert raw.parse().metadata == {"topic": "sea", "system_fingerprint": f"tone@1:{digest[:12]}"}


def test_a_text_that_had_no_room_is_incomplete(client: OpenAI, script: Script) -> None:
    def act(call: Call) -> None:
        if call.on_part is not None:
            call.write("half", end=CUT)
        call.finish("half", ends=(CUT,))

    script.act = act
    answer = ask(client)
    assert answer.incomplete_details is not None
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert [event.type for event in client.responses.create(model="tone", input="a", stream=True)][-1] == (
        "response.incomplete"
    )


def test_a_stream_has_the_events_of_openais_in_their_order(client: OpenAI, script: Script) -> None:
    def act(call: Call) -> None:
        call.write("Yo ")
        call.write("ho!", end=ENDED)
        call.finish("Yo ho!")

    script.act = act
    with client.responses.stream(model="tone", input="a") as stream:
        types = [kind for kind, _ in groupby(event.type for event in stream)]
        final = stream.get_final_response()
    assert types == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert final.output_text == "Yo ho!"
    assert final.usage is not None
    assert final.usage.output_tokens == 2
    events = list(client.responses.create(model="tone", input="a", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == "Yo ho!"


def test_an_empty_text_is_an_empty_message(client: OpenAI, script: Script) -> None:
    def act(call: Call) -> None:
        if call.on_part is not None:
            call.write("", end=ENDED)
        call.finish("")

    script.act = act
    with client.responses.stream(model="tone", input="a") as stream:
        *_, _ = stream
        streamed = stream.get_final_response()
    for answer in (ask(client), streamed):
        (message,) = answer.output
        assert message.type == "message"
        assert answer.output_text == ""


def test_calls_are_items_of_their_own_and_go_back_with_outputs(client: OpenAI, script: Script) -> None:
    def act(call: Call) -> None:
        if call.on_part is not None:
            call.write("I look. " + CALL, end=ENDED)
        call.finish("I look. " + CALL)

    script.act = act
    with client.responses.stream(model="tone", input="a", tools=TOOLS) as stream:
        *_, _ = stream
        streamed = stream.get_final_response()
    whole = ask(client, tools=TOOLS)
    for answer in (whole, streamed):
        said, called = answer.output
        assert answer.output_text == "I look. "
        assert said.type == "message"
        assert called.type == "function_call"
        assert (called.name, called.arguments) == ("weather", '{"place": "Lisbon"}')
    (tool,) = script.calls[-1].call.inputs.tools
    assert tool["function"]["description"] == "The weather at a place."
    assert "strict" not in tool["function"]

    called = whole.output[1]
    assert called.type == "function_call"
    output = {"type": "function_call_output", "call_id": called.call_id, "output": "Sun."}
    ask(client, input=[{"role": "user", "content": "a"}, *whole.output, output], tools=TOOLS)
    _, message, answered = script.calls[-1].call.inputs.chats[0]
    assert message["content"] == "I look. "
    assert message["tool_calls"][0]["function"] == {"name": "weather", "arguments": {"place": "Lisbon"}}
    assert answered == {"role": "tool", "tool_call_id": called.call_id, "content": "Sun."}


def test_forms_and_required_calls_become_constraints(client: OpenAI, script: Script) -> None:
    script.act = lambda call: call.finish('{"name": "weather", "arguments": {}}')
    named = {"type": "function", "name": "weather"}
    (called,) = ask(client, tools=TOOLS, tool_choice=named).output
    assert called.type == "function_call"
    ask(client, text={"format": {"type": "json_schema", "name": "x", "schema": {"type": "array"}}})
    required, formed = [call.call.parameters or {} for call in script.calls]
    assert required["constraint"]["json_schema"]["properties"]["name"] == {"const": "weather"}
    assert formed["constraint"] == {"json_schema": {"type": "array"}}


def test_images_of_the_input_are_images_of_the_chat(client: OpenAI, script: Script) -> None:
    url = "data:image/png;base64,aaaa"
    parts = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": url, "detail": "auto"},
    ]
    ask(client, input=[{"type": "message", "role": "user", "content": parts}])
    ((message,),) = script.calls[0].call.inputs.chats
    assert message["content"][1] == {"type": "image_url", "image_url": {"url": url}}


def test_a_response_stream_that_breaks_ends_with_an_error(client: OpenAI, script: Script) -> None:
    def act(call: Call) -> None:
        call.write("half")
        call.fail(HostLost("mlp", "SIGKILL"))

    script.act = act
    with pytest.raises(APIError, match="SIGKILL"):
        list(client.responses.create(model="tone", input="a", stream=True))


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"store": True}, "store"),
        ({"background": True}, "background"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"truncation": "auto"}, "truncation"),
        ({"reasoning": {"effort": "high"}}, "reasoning"),
        ({"include": ["message.output_text.logprobs"]}, "include[0]"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"input": []}, "input"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ({"input": [{"role": "king", "content": "a"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0]"),
        ({"input": [{"role": "user", "content": 1}], "instructions": "Be brief."}, "input[0].content"),
        ({"input": [{"role": "user", "content": "a", "mood": "glad"}], "instructions": "b"}, "input[0].mood"),
    ],
)
def test_what_responses_lack_is_refused_by_name(client: OpenAI, body: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequestError) as raised:
        ask(client, input=body.pop("input", "a"), extra_body=body)
    assert raised.value.param == param


def test_a_response_of_a_model_that_there_isnt_is_not_found(client: OpenAI) -> None:
    with pytest.raises(NotFoundError) as raised:
        ask(client, model="none")
    assert raised.value.code == "model_not_found"
