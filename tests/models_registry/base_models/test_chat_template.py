"""Chats by a model's own template: tools and calls reach it, and one that never ends is told of."""

from typing import Any

import pytest
from word_models import word_tokenizer

from models_registry.base_models import chat_template
from models_registry.base_models.chat_template import render_chats
from models_registry.errors import Invalid

AT = ("inputs", "messages")
WITH_TOOLS = (
    "{% for tool in tools or [] %}[{{ tool.function.name }}] {% endfor %}{% for m in messages %}{{ m.role }}: "
    "{{ m.content }}{% for call in m.tool_calls or [] %}{{ call.function.arguments.place }}{% endfor %} {% endfor %}"
)
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
TOOLS: list[Any] = [{"type": "function", "function": {"name": "weather"}}]
CHAT: Any = (
    {"role": "user", "content": "a"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"function": {"name": "weather", "arguments": {"place": "b"}}}],
    },
)


def render(template: str, *chats: Any, tools: Any = ()) -> tuple[str, ...]:
    tokenizer = word_tokenizer()
    tokenizer.chat_template = template
    return render_chats(tokenizer, chats, AT, tools)


def test_tools_and_calls_reach_the_template() -> None:
    assert render(WITH_TOOLS, CHAT, tools=TOOLS) == ("[weather] user: a assistant: b ",)
    assert render(WITH_TOOLS, CHAT[:1], CHAT[:1]) == ("user: a ", "user: a ")


def test_tools_that_a_template_does_not_know_are_refused() -> None:
    with pytest.raises(Invalid) as raised:
        render("{{ messages[0].content }}", CHAT, tools=TOOLS)
    assert [fault.loc for fault in raised.value.faults] == [("inputs", "tools")]


def test_a_template_that_never_ends_is_a_fault_of_its_chat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_template, "SECONDS", 0.2)
    with pytest.raises(Invalid) as raised:
        render(ENDLESS, CHAT)
    assert [fault.loc for fault in raised.value.faults] == [(*AT, 0)]
    assert "end" in raised.value.faults[0].message
