"""Inputs as a caller sent them, and the outputs that are returned, before and after any base model has seen them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

import torch

PIXELS: Final = "pixel_values"

OutputValue: TypeAlias = torch.Tensor | tuple[str, ...]

Chat: TypeAlias = tuple[Mapping[str, Any], ...]
"""Messages in turn, each with its `role` and its `content`, a string, or where there are images a list of parts; of the
assistant with `tool_calls`, whose arguments are values, of a tool with `tool_call_id` and `name`."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a caller sent: named tensors, texts, texts as `tokens`, or chats (one a row). Exactly one is non-empty, but
    beside texts there may be the tensor `PIXELS`: an image, prepared for the model, to each.

    `tools` are what all the chats may call, as JSON schemas in OpenAI's form.
    `images` of a row stand beside its text, uint8 [height, width, 3]: only a base model's own reading puts them there.
    `is_templated` says of texts that a chat template wrote them, with the special tokens that belong there.
    """

    tensors: Mapping[str, torch.Tensor] = field(default_factory=dict[str, torch.Tensor])
    texts: tuple[str, ...] = ()
    tokens: tuple[tuple[int, ...], ...] = ()
    chats: tuple[Chat, ...] = ()
    images: tuple[tuple[torch.Tensor, ...], ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()
    is_templated: bool = False

    @property
    def count(self) -> int:
        """How many rows they are, if tensors have any: then one for each index of their leading dimension."""
        if self.tensors and not self.has_text:
            return min(tensor.shape[0] if tensor.ndim else 0 for tensor in self.tensors.values())
        return len(self.texts) or len(self.tokens) or len(self.chats)

    @property
    def has_text(self) -> bool:
        """Whether they are texts, in whatever form."""
        return bool(self.texts or self.tokens or self.chats)

    @property
    def shows(self) -> bool:
        """Whether images stand beside texts, in whatever form."""
        return bool(self.images or (self.tensors and self.has_text))

    def at(self, rows: Sequence[int]) -> "Inputs":
        """Some of the rows, in this order."""
        return replace(
            self,
            tensors={name: tensor[list(rows)] for name, tensor in self.tensors.items()},
            texts=self.texts and tuple(self.texts[row] for row in rows),
            images=self.images and tuple(self.images[row] for row in rows),
            tokens=self.tokens and tuple(self.tokens[row] for row in rows),
            chats=self.chats and tuple(self.chats[row] for row in rows),
        )
