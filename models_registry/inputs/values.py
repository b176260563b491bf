"""Inputs as a caller sent them, and the outputs that come back, before and after any base model has seen them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch

OutputValue: TypeAlias = torch.Tensor | tuple[str, ...]

Chat: TypeAlias = tuple[Mapping[str, Any], ...]
"""Messages in turn, each with its `role` and its `content`, a string; of the assistant with `tool_calls`, whose
arguments are values, of a tool with `tool_call_id` and `name`."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a caller sent: named tensors, texts or chats (one a row). Exactly one of the three is non-empty.

    `tools` are what all the chats may call, as JSON schemas in OpenAI's form.
    `is_templated` says of texts that a chat template wrote them, with the special tokens that belong there.
    """

    tensors: Mapping[str, torch.Tensor] = field(default_factory=dict[str, torch.Tensor])
    texts: tuple[str, ...] = ()
    chats: tuple[Chat, ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()
    is_templated: bool = False
