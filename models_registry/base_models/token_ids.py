"""Whether a transformers model can look up what it is given: on a GPU, one index outside a table ends the process."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from transformers import PreTrainedModel

from models_registry.records import Fault

TOKEN_INPUTS = ("input_ids", "decoder_input_ids")
LIKE_TOKENS = ("attention_mask", "token_type_ids", "position_ids")


@dataclass(frozen=True, slots=True)
class Tables:
    """How many rows each table of a model has, and how many positions a row of tokens may take; None: not known."""

    tokens: int | None = None
    segments: int | None = None
    positions: int | None = None

    def size(self, name: str) -> int | None:
        if name in TOKEN_INPUTS:
            return self.tokens
        return {"token_type_ids": self.segments, "position_ids": self.positions}.get(name)


def tables_of(module: PreTrainedModel) -> Tables:
    try:
        embedding = module.get_input_embeddings()
    except NotImplementedError:  # what transformers raises for speech and vision models, which have none
        embedding = None
    return Tables(
        tokens=embedding.num_embeddings if isinstance(embedding, nn.Embedding) else None,
        segments=getattr(module.config, "type_vocab_size", None),  # only architectures with segments have it
        positions=_position_limit(module),
    )


def token_faults(tables: Tables, tensors: Mapping[str, Tensor]) -> Iterator[Fault]:
    """Every index outside its table with its row, every row too long, every companion not shaped like the ids."""
    ids = tensors.get("input_ids")
    for name, tensor in tensors.items():
        bound = tables.size(name)
        if bound is not None:
            yield from _index_faults(name, tensor, bound)
        if name in (*TOKEN_INPUTS, "inputs_embeds") and tables.tokens is not None:
            yield from _length_faults(name, tensor, tables.positions)
        if name in LIKE_TOKENS and ids is not None and tensor.ndim == 2 and tensor.shape != ids.shape:
            message = f"It is shaped {list(tensor.shape)}, and input_ids {list(ids.shape)}; they must be the same."
            yield Fault(("inputs", name), message)


def _position_limit(module: PreTrainedModel) -> int | None:
    limit = getattr(module.config.get_text_config(), "max_position_embeddings", None)  # not every config has it
    tables = (part for name, part in module.named_modules() if name.endswith("position_embeddings"))
    # A table with a padding index counts positions from behind it (RoBERTa): its first rows are never a position.
    offsets = [
        table.num_embeddings - table.padding_idx - 1
        for table in tables
        if isinstance(table, nn.Embedding) and table.padding_idx is not None
    ]
    return min([*offsets, *([limit] if isinstance(limit, int) else [])], default=None)


def _index_faults(name: str, tensor: Tensor, bound: int) -> Iterator[Fault]:
    if tensor.is_floating_point() or tensor.is_complex():
        yield Fault(("inputs", name), "These are indices: send whole numbers.")
        return
    outside = (tensor < 0) | (tensor >= bound)
    if not outside.any():
        return
    for row, (values, wrong) in enumerate(zip(_by_row(tensor), _by_row(outside), strict=True)):
        if wrong.any():
            value = int(values[wrong][0])
            yield Fault(("inputs", name, row), f"{value} is outside the model's table of {bound}: 0 to {bound - 1}.")


def _by_row(tensor: Tensor) -> Tensor:
    return tensor.reshape(tensor.shape[0] if tensor.ndim else 1, -1)


def _length_faults(name: str, tensor: Tensor, limit: int | None) -> Iterator[Fault]:
    if tensor.ndim < 2:
        yield Fault(("inputs", name), f"It is shaped {list(tensor.shape)}; it needs rows of tokens.")
    elif tensor.shape[1] == 0:
        yield Fault(("inputs", name), "Its rows have no tokens.")
    elif limit is not None and tensor.shape[1] > limit:
        yield Fault(("inputs", name), f"Its rows have {tensor.shape[1]} tokens; the model takes at most {limit}.")
