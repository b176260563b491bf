"""What transformers' `generate` begins to write from, whichever part of a model reads it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationMixin, PreTrainedModel

from models_registry.base_models.generation import GenerationParameters
from models_registry.base_models.text import Text
from models_registry.base_models.token_ids import Tables
from models_registry.inputs.values import Inputs


@dataclass(frozen=True, slots=True)
class TextBeginning:
    """`tensors` under the forward's names. `before` [rows, tokens] is 1 at the tokens that a continuation follows, with
    padding on the left of some; `room` is how many may follow."""

    tensors: Mapping[str, Tensor]
    before: Tensor
    room: int

    @classmethod
    def of_encoded(
        cls, tensors: Mapping[str, Tensor], rows: int, wanted: GenerationParameters, tables: Tables
    ) -> "TextBeginning":
        """For an encoder-decoder: `tensors` are what its encoder reads; the decoder begins anew."""
        return cls(tensors, torch.ones(rows, 1).long(), tables.decoder.room_for(wanted.length))

    @classmethod
    def of_prompts(cls, inputs: Inputs, wanted: GenerationParameters, text: Text, limit: int | None) -> "TextBeginning":
        """For a decoder, of which prompt and continuation have at most `limit` tokens. Raises `Invalid`."""
        rows = text.rows(inputs, limit, "left", wanted.room)
        before = rows["attention_mask"]
        room = wanted.length if limit is None else min(wanted.length, limit - before.shape[1])
        return cls({name: rows[name] for name in ("input_ids", "attention_mask")}, before, room)

    @classmethod
    def of_images(cls, rows: Mapping[str, Tensor], wanted: GenerationParameters, limit: int | None) -> "TextBeginning":
        """For `rows` of prompts with images, which have room for what is wanted."""
        before = rows["attention_mask"]
        return cls(rows, before, wanted.length if limit is None else min(wanted.length, limit - before.shape[1]))

    def generate(self, model: PreTrainedModel, arguments: Mapping[str, Any]) -> Tensor:
        """Tokens [rows, tokens], those before the continuation included."""
        tensors = {name: tensor.to(model.device) for name, tensor in self.tensors.items()}
        # transformers mixes it into models that can. Some have one of their own, which takes an input apart and runs
        # several: there nobody could hear the tokens one by one.
        mixin: Any = GenerationMixin
        return mixin.generate(model, **tensors, **arguments)
