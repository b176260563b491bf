"""Chats as a model's own chat template writes them for it.

transformers runs templates in jinja2's immutable sandbox, so that a template from a model's directory reads and changes
nothing of ours. Nor does one that never ends hold up more than the request that it is for.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from models_registry.base_models.time_limit import within
from models_registry.errors import Invalid
from models_registry.inputs.values import Chat
from models_registry.records import Fault, Location

SECONDS, SECONDS_A_CHAT = 10.0, 0.01
"""A chat takes less than a millisecond; the rest is for a machine that is busy."""


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

    def render() -> None:
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

    try:
        within(SECONDS + SECONDS_A_CHAT * len(chats), render)
    except TimeoutError:
        row = len(texts) + len(faults)
        faults.append(Fault((*at, row), "The model's chat template doesn't come to an end over this chat."))
    if faults:
        raise Invalid("The model's chat template can't write every row.", faults)
    return tuple(texts)
