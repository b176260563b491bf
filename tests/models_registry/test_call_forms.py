import pytest

from models_registry.call_forms import CallForm, call_form_of


@pytest.mark.parametrize(
    ("template", "form"),
    [
        (None, "hermes"),
        ("{{ messages }}", "hermes"),
        ('<tool_call>\n{"name": …, "arguments": …} with "parameters": of a tool', "hermes"),
        ("{{- '[TOOL_CALLS] [' }}", "mistral"),
        ("{{- '<|python_tag|>' + tool_call.name }}", "llama"),
        ("{{- '{\"name\": \"' + tool_call.name + '\", ' }}{{- '\"parameters\": ' }}", "llama"),
    ],
)
def test_a_chat_template_shows_how_its_model_calls(template: str | None, form: CallForm) -> None:
    assert call_form_of(template) == form
