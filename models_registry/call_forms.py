"""The forms in which models write calls of tools. A model's chat template shows which one it was trained on."""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

CallForm: TypeAlias = Literal["hermes", "llama", "mistral"]
"""`hermes`: `<tool_call>{"name": …, "arguments": …}</tool_call>`, as Hermes, Qwen, SmolLM and Granite have it. `llama`:
`{"name": …, "parameters": …}`, alone or behind `<|python_tag|>`. `mistral`: `[TOOL_CALLS][{"name": …, "arguments": …}]`
or `[TOOL_CALLS]name[ARGS]{…}`."""

MARKS: Final[Mapping[CallForm, tuple[str, ...]]] = {
    "hermes": ("<tool_call>", "</tool_call>"),
    "llama": ("<|python_tag|>",),
    "mistral": ("[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"),
}
"""Of a call in a text; tokenizers may have special tokens for them."""


def call_form_of(template: str | None) -> CallForm:
    """By its marks; `hermes` where it has none, for its marks are the ones that mean nothing else."""
    if template is None or MARKS["hermes"][0] in template:
        return "hermes"
    if MARKS["mistral"][0] in template:
        return "mistral"
    return "llama" if MARKS["llama"][0] in template or '"parameters": ' in template else "hermes"
