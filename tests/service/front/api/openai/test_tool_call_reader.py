"""Calls in texts, in each form that models write them in, however the text is cut into parts."""

import pytest

from models_registry.call_forms import CallForm
from service.front.api.openai.tool_call_reader import ToolCallReader

WEATHER = ("weather", '{"place": "Lisbon"}')
TIME = ("time", "{}")


def read(form: CallForm, *parts: str, is_call: bool = False) -> tuple[str, list[str], list[tuple[str, str]]]:
    """The text, what of it came before the end, and the calls."""
    reader = ToolCallReader(form, reads_calls=True, is_call=is_call)
    early = [reader.add(part) for part in parts]
    rest, calls = reader.end()
    return "".join(early) + rest, early, [(call.function.name, call.function.arguments) for call in calls]


@pytest.mark.parametrize(
    ("form", "written", "text", "calls"),
    [
        (
            "hermes",
            'Aye. <tool_call>{"name": "weather", "arguments": {"place": "Lisbon"}}</tool_call>',
            "Aye. ",
            [WEATHER],
        ),
        ("llama", '{"name": "weather", "parameters": {"place": "Lisbon"}}', "", [WEATHER]),
        ("llama", '\n{"name": "weather", "parameters": {"place": "Lisbon"}}; {"name": "time"}\n', "", [WEATHER, TIME]),
        ("llama", '<|python_tag|>{"name": "weather", "parameters": {"place": "Lisbon"}}', "", [WEATHER]),
        ("llama", 'Aye. <|python_tag|>{"name": "time", "parameters": {}}', "Aye. ", [TIME]),
        (
            "mistral",
            '[TOOL_CALLS] [{"name": "weather", "arguments": {"place": "Lisbon"}}, {"name": "time"}]',
            "",
            [WEATHER, TIME],
        ),
        (
            "mistral",
            'Aye. [TOOL_CALLS]weather[CALL_ID]abc[ARGS]{"place": "Lisbon"}[TOOL_CALLS]time[ARGS]{}',
            "Aye. ",
            [WEATHER, TIME],
        ),
    ],
)
def test_calls_are_found_in_the_models_own_form(
    form: CallForm, written: str, text: str, calls: list[tuple[str, str]]
) -> None:
    for parts in ([written], list(written)):
        content, _, found = read(form, *parts)
        assert (content, found) == (text, calls)


@pytest.mark.parametrize(
    ("form", "written"),
    [
        ("hermes", "<tool_call>not JSON</tool_call>"),
        ("hermes", '{"name": "time", "parameters": {}}'),
        ("hermes", "<tool_call>" + "[" * 100_000),
        ("llama", '{"place": "Lisbon"}'),
        ("llama", '{"name": "time"'),
        ("llama", '{"name": "time"} is what I would call'),
        ("llama", '<|python_tag|>weather.call(place="Lisbon")'),
        ("llama", '<tool_call>{"name": "time"}</tool_call>'),
        ("llama", " "),
        ("mistral", "[TOOL_CALLS]"),
        ("mistral", "[TOOL_CALLS][1]"),
        ("mistral", "[TOOL_CALLS]time"),
        ("mistral", "[TOOL_CALLS]time[ARGS]now"),
        ("mistral", "a [TOOL"),
    ],
)
def test_what_is_no_call_stays_text_as_it_is(form: CallForm, written: str) -> None:
    for parts in ([written], [written[:7], written[7:]]):
        assert read(form, *parts)[0::2] == (written, [])


def test_text_that_is_surely_no_call_does_not_wait_for_the_end() -> None:
    forms: tuple[CallForm, ...] = ("hermes", "llama", "mistral")
    for form in forms:
        assert read(form, "The sea ", "is { deep <", "b")[1] == [
            "The sea ",
            "is { deep " + "<" * (form == "mistral"),
            "b" if form == "mistral" else "<b",
        ]


def test_ids_of_calls_are_such_as_the_models_template_takes() -> None:
    reader = ToolCallReader("mistral", reads_calls=True, is_call=True)
    reader.add('{"name": "time", "arguments": {}}')
    _, (call,) = reader.end()
    assert len(call.id) == 9
    assert call.id.isalnum()
