"""What a causal model says of a text in a few bytes: the token that it finds likeliest next, and how likely."""

from collections.abc import Callable, Mapping

from torch import Tensor

from models_registry.inputs.values import OutputValue


def next_tokens(
    outputs: Mapping[str, Tensor], mask: Tensor | None, decode: Callable[[Tensor], tuple[str, ...]]
) -> dict[str, OutputValue]:
    """`next_token` and `score`, its probability, [rows], out of `logits` [rows, tokens, vocabulary]; nothing where a
    model gives no such logits. `mask` [rows, tokens] is 1 at a row's own tokens, of which the last one counts."""
    logits = outputs.get("logits")
    if logits is None or mask is None or logits.ndim != 3 or logits.shape[:2] != mask.shape:
        return {}
    last = mask.shape[1] - 1 - mask.flip(1).argmax(1)
    of_last = logits.gather(1, last[:, None, None].expand(-1, 1, logits.shape[2]))[:, 0]
    best = of_last.float().softmax(-1).max(-1)
    return {"next_token": decode(best.indices[:, None]), "score": best.values}
