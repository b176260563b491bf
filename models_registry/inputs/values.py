"""Inputs as a caller sent them, and the outputs that come back, before and after any base model has seen them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import torch

OutputValue: TypeAlias = torch.Tensor | tuple[str, ...]

Chat: TypeAlias = tuple[Mapping[str, str], ...]
"""Messages in turn, each with its `role` and its `content`."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a caller sent: named tensors, texts or chats (one a row). Exactly one of the three is non-empty.

    `is_templated` says of texts that a chat template wrote them, with the special tokens that belong there.
    """

    tensors: Mapping[str, torch.Tensor] = field(default_factory=dict[str, torch.Tensor])
    texts: tuple[str, ...] = ()
    chats: tuple[Chat, ...] = ()
    is_templated: bool = False
