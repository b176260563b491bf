"""Chats as a model's own chat template writes them for it.

transformers runs templates in jinja2's immutable sandbox, so that a template from a model's directory reads and changes
nothing of ours.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from models_registry.errors import Invalid
from models_registry.inputs.values import Chat
from models_registry.records import Fault, Location


def render_chats(
    tokenizer: PreTrainedTokenizerBase, chats: Sequence[Chat], at: Location, tools: Sequence[Mapping[str, Any]] = ()
) -> tuple[str, ...]:
    """Each chat up to where the answer begins, `tools` described in it. Raises `Invalid` naming every row that the
    template doesn't take, and tools that it doesn't know."""
    if tools and "tools" not in str(tokenizer.chat_template):
        message = "This base model's chat template knows no tools; leave them out, or describe them in a message."
        raise Invalid(message, [Fault(("inputs", "tools"), message)])
    texts: list[str] = []
    faults: list[Fault] = []
    for row, chat in enumerate(chats):
        try:
            text = tokenizer.apply_chat_template(
                [dict(message) for message in chat],
                tools=[dict(tool) for tool in tools] or None,
                add_generation_prompt=True,
                tokenize=False,
            )
        except MemoryError:
            raise
        except Exception as error:  # a template is code from the model's directory: it may fail in any way
            reason = " ".join(f"{error}".split()) or type(error).__name__
            faults.append(Fault((*at, row), f"The model's chat template refuses this chat: {reason}"))
        else:
            texts.append(str(text))
    if faults:
        raise Invalid("The model's chat template can't write every row.", faults)
    return tuple(texts)
