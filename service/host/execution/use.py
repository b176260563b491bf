"""What the rows of a request took, which is counted for its caller's team: tokens, and their share of a forward."""

from collections.abc import Iterable, Sequence

import torch

from models_registry.base_models.spec import Rows
from service.protocol.types import Selection, Used

IDS, MASK = "input_ids", "attention_mask"


def use_of(rows: Rows | None, selections: tuple[Selection, ...], row_s: float) -> tuple[Used, ...]:
    """Of a job whose rows took `row_s` seconds of a forward each. Its outputs' `selections` are one per row, or one
    where they were returned whole."""
    uses = [] if rows is None else [Used(1, tokens, forward_s=row_s) for tokens in prompt_tokens(rows)]
    return by_selection(selections if len(selections) == len(uses) else selections[:1] * len(uses), uses)


def by_selection(selections: Iterable[Selection], uses: Iterable[Used]) -> tuple[Used, ...]:
    """Of each distinct selection, in the order of their first rows, where each has used one of `uses` in turn."""
    own: dict[Selection, Used] = {}
    for selection, used in zip(selections, uses, strict=True):
        before = own.get(selection)
        own[selection] = used if before is None else _sum(before, used)
    return tuple(own.values())


def prompt_tokens(rows: Rows) -> Sequence[int]:
    """Of each row, or of the only one where the inputs have no rows; 0 of a model that doesn't read tokens."""
    ids, mask = rows.tensors.get(IDS), rows.tensors.get(MASK)
    if ids is None:
        return [0] * (rows.count or 1)
    if rows.count is None:
        return [ids.numel()]
    if mask is None or mask.shape != ids.shape or ids.ndim != 2:
        return [ids[0].numel()] * rows.count
    lengths: list[int] = torch.count_nonzero(mask, dim=1).tolist()
    return lengths


def _sum(one: Used, other: Used) -> Used:
    return Used(
        one.rows + other.rows,
        one.prompt_tokens + other.prompt_tokens,
        one.cached_tokens + other.cached_tokens,
        one.generated_tokens + other.generated_tokens,
        one.forward_s + other.forward_s,
    )
