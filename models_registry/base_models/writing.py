"""What it takes to write a text token by token: its prompt as tokens, and what belongs to the model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models_registry.base_models.detokenizer import Detokenizer
from models_registry.base_models.encoder_decoder import start_token_of
from models_registry.base_models.generation import GenerationParameters, end_ids
from models_registry.base_models.text import Text
from models_registry.base_models.token_ids import Tables, require_tokens
from models_registry.call_forms import MARKS, CallForm, call_form_of
from models_registry.inputs.values import Inputs


class TokenDrawer(Protocol):
    """Draws the tokens of a batch of texts, whose scores a model's own `generate` computes."""

    def draw(self, logits: Tensor) -> Sequence[int]:
        """The next token of each text, by float32 logits [texts, vocabulary]. Whatever it raises ends the batch."""
        ...

    def over(self) -> Sequence[bool]:
        """Which texts get no more tokens. Asked after each token, when nothing is being computed."""
        ...


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text to continue, as tokens. At most `room` tokens may follow."""

    ids: tuple[int, ...]
    room: int

    @property
    def length(self) -> int:
        """Positions that it and its continuation take at most."""
        return len(self.ids) + self.room


@dataclass(frozen=True, slots=True)
class Writer:
    """A model that writes, the tokens that end its texts, and what makes tokens and reads them. `begins` are the tokens
    that every text begins with; None where a text goes on from its prompt. Calls of tools have the `call_form`."""

    model: PreTrainedModel
    end_ids: frozenset[int]
    tokenizer: PreTrainedTokenizerBase
    detokenizer: Detokenizer
    begins: tuple[int, ...] | None = None
    reads_images: bool = False
    call_form: CallForm = "hermes"


def writer_of(model: PreTrainedModel, text: Text, reads_images: bool) -> Writer:
    begins = (start_token_of(model) or 0,) if model.config.is_encoder_decoder else None
    form = call_form_of(text.template)
    detokenizer = Detokenizer(text.tokenizer, MARKS[form])
    return Writer(model, end_ids(model), text.tokenizer, detokenizer, begins, reads_images, form)


def prompts_of(
    inputs: Inputs, parameters: GenerationParameters, text: Text, limit: int | None, tables: Tables, new_tokens: int
) -> tuple[Prompt, ...]:
    """The texts as tokens, of which a model with these `tables` takes at most `limit`, `new_tokens` included. Raises
    `Invalid`."""
    rows = text.rows(inputs, limit, "left", new_tokens)
    require_tokens(tables, inputs, rows["input_ids"])
    own = (ids[mask.bool()].tolist() for ids, mask in zip(rows["input_ids"], rows["attention_mask"], strict=True))
    length = parameters.length
    return tuple(Prompt(tuple(ids), length if limit is None else min(length, limit - len(ids))) for ids in own)
