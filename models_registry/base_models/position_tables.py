"""How many positions a model can look up: as many as its table of positions has rows, whatever its config says.

Models without such a table (T5, ALiBi, rotary embeddings, XLNet) have no bound: transformers runs them at any length.
"""

import re
from collections.abc import Iterator
from itertools import chain

from torch import nn

# What transformers calls such a table. Relative distances and coordinates (of boxes, of patches) have other names.
NAMES = re.compile(
    r"wpe|positions_embed|embed_positions|position_embeds_layer|pos(ition(al)?)?_(embed|embedding|embeddings|encoding)"
)


def position_limit(model: nn.Module, embedding: nn.Module) -> int | None:
    """The rows of the smallest table that belongs to the token `embedding`; None where there is none.

    A table belongs to it if it lies inside the module that holds it: a vision tower beside it has tables of its own.
    """
    holders = (part for part in model.modules() if any(child is embedding for child in part.children()))
    return min(chain.from_iterable(map(_table_rows, holders)), default=None)


def _table_rows(holder: nn.Module) -> Iterator[int]:
    for name, part in holder.named_modules():
        if isinstance(part, nn.Embedding) and _is_position_table(name) and not _grows(part):
            yield part.num_embeddings - _reserved_rows(part)
    for name, tensor in chain(holder.named_parameters(), holder.named_buffers()):
        if _is_position_table(name) and tensor.ndim >= 2:
            yield tensor.shape[-2]


def _is_position_table(name: str) -> bool:
    return NAMES.fullmatch(name.rpartition(".")[2]) is not None


def _grows(table: nn.Embedding) -> bool:
    """FSMT's sinusoids are made anew, for as many positions as a row has."""
    return hasattr(table, "make_weight")


def _reserved_rows(table: nn.Embedding) -> int:
    """The first rows that are never a position: BART's and OPT's `offset`, RoBERTa's up to its padding index."""
    offset = getattr(table, "offset", None)  # only these models' tables have it
    if isinstance(offset, int):
        return offset
    return 0 if table.padding_idx is None else table.padding_idx + 1
