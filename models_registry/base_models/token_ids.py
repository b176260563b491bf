"""Whether a transformers model can look up what it is given: on a GPU, one index outside a table ends the process."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from transformers import PreTrainedModel

from models_registry.base_models.position_tables import position_limit
from models_registry.errors import Invalid
from models_registry.inputs.values import Inputs
from models_registry.records import Fault, Location

TOKEN_INPUTS = ("input_ids", "decoder_input_ids")
LIKE_TOKENS = ("attention_mask", "token_type_ids", "position_ids")
SEGMENT_TABLE = "token_type_embeddings"
_ADDED = "tokens were added to the tokenizer alone. Put the tokenizer that belongs to the model beside it."
_FOREIGN = "another model's tokenizer made it. Send the text (in langchain-openai: check_embedding_ctx_length=False)."


@dataclass(frozen=True, slots=True)
class Table:
    """How many rows a table of tokens has, and how many positions a row of tokens may take; None: no bound."""

    tokens: int | None = None
    positions: int | None = None

    def room_for(self, new_tokens: int) -> int:
        """How many of them fit behind the one that a decoder begins with."""
        return new_tokens if self.positions is None else min(new_tokens, self.positions - 1)


@dataclass(frozen=True, slots=True)
class Tables:
    """Of the part that reads the inputs, of the decoder where that is another one, and the rows for segments."""

    inputs: Table = Table()
    decoder: Table = Table()
    segments: int | None = None

    def rows_for(self, name: str) -> int | None:
        """How many rows the input `name` is looked up in."""
        match name:
            case "input_ids":
                return self.inputs.tokens
            case "decoder_input_ids":
                return self.decoder.tokens
            case "token_type_ids":
                return self.segments
            case "position_ids":
                return self.inputs.positions
            case _:
                return None


def tables_of(model: PreTrainedModel) -> Tables:
    """Asks the modules: what a config says of their sizes may be a wish, a default or a sign for "none"."""
    two_parts = model.config.is_encoder_decoder
    inputs = _table_of(model.get_encoder() if two_parts else model)
    return Tables(inputs, _table_of(model.get_decoder()) if two_parts else inputs, _segments(model))


def token_faults(tables: Tables, tensors: Mapping[str, Tensor]) -> Iterator[Fault]:
    """Every index outside its table with its row, every row too long, every companion not shaped like the ids."""
    ids = tensors.get("input_ids")
    lengths = {"input_ids": tables.inputs, "inputs_embeds": tables.inputs, "decoder_input_ids": tables.decoder}
    for name, tensor in tensors.items():
        bound = tables.rows_for(name)
        if bound is not None:
            yield from _index_faults(name, tensor, bound)
        if name in lengths and lengths[name].tokens is not None:
            yield from _length_faults(name, tensor, lengths[name].positions)
        if name in LIKE_TOKENS and ids is not None and tensor.ndim == 2 and tensor.shape != ids.shape:
            message = f"It is shaped {list(tensor.shape)}, and input_ids {list(ids.shape)}; they must be the same."
            yield Fault(("inputs", name), message)


def require_tokens(tables: Tables, inputs: Inputs, ids: Tensor) -> None:
    """Raises `Invalid` naming every text that has a token [rows, tokens] for which the model has no row: the tokenizer
    gave it, or the caller did."""
    bound = tables.inputs.tokens
    wrong = list(_outside(ids, bound)) if bound is not None else []
    if not wrong:
        return
    if inputs.tokens:
        detail, reason = "These are not the model's token ids.", _FOREIGN
    else:
        detail, reason = "The tokenizer and the model don't belong together.", _ADDED
    message = f"but the model's embedding has {bound} rows: {reason}"
    raise Invalid(detail, [Fault(("inputs", "text", row), f"It has token {token}, {message}") for row, token in wrong])


def _table_of(part: nn.Module) -> Table:
    embedding = _token_embedding(part)
    if embedding is None:
        return Table()
    return Table(embedding.num_embeddings, position_limit(part, embedding))


def _token_embedding(part: nn.Module) -> nn.Embedding | None:
    try:
        embedding = part.get_input_embeddings() if isinstance(part, PreTrainedModel) else None
    except NotImplementedError:  # what transformers raises for speech and vision models, which have none
        return None
    return embedding if isinstance(embedding, nn.Embedding) else None


def _segments(model: nn.Module) -> int | None:
    tables = (part for name, part in model.named_modules() if name.rpartition(".")[2] == SEGMENT_TABLE)
    return min((table.num_embeddings for table in tables if isinstance(table, nn.Embedding)), default=None)


def _index_faults(name: str, tensor: Tensor, bound: int) -> Iterator[Fault]:
    if tensor.is_floating_point() or tensor.is_complex():
        yield Fault(("inputs", name), "These are indices: send whole numbers.")
        return
    cause = "; were they made by another model's tokenizer?" if name in TOKEN_INPUTS else "."
    for row, wrong in _outside(tensor, bound):
        at: Location = ("inputs", name, row)
        yield Fault(at, f"{wrong} is outside the model's table of {bound} rows, 0 to {bound - 1}{cause}")


def _outside(tensor: Tensor, bound: int) -> Iterator[tuple[int, int]]:
    """Each row with an index outside 0 to `bound` - 1, and the first such index in it."""
    outside = (tensor < 0) | (tensor >= bound)
    if not outside.any():
        return
    for row, (values, wrong) in enumerate(zip(_by_row(tensor), _by_row(outside), strict=True)):
        if wrong.any():
            yield row, int(values[wrong][0])


def _by_row(tensor: Tensor) -> Tensor:
    return tensor.reshape(tensor.shape[0] if tensor.ndim else 1, -1)


def _length_faults(name: str, tensor: Tensor, limit: int | None) -> Iterator[Fault]:
    if tensor.ndim < 2:
        yield Fault(("inputs", name), f"It is shaped {list(tensor.shape)}; it needs rows of tokens.")
    elif tensor.shape[1] == 0:
        yield Fault(("inputs", name), "Its rows have no tokens.")
    elif limit is not None and tensor.shape[1] > limit:
        message = f"Its rows have {tensor.shape[1]} tokens, and the model's position table has {limit} rows; send less."
        yield Fault(("inputs", name), message)
