"""One embedding per row out of the hidden states of its tokens, as sentence-transformers' files beside a model say."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from models_registry.errors import Invalid, Unsupported
from models_registry.records import Fault


def _mean(hidden: Tensor, mask: Tensor) -> Tensor:
    return (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)


def _mean_sqrt(hidden: Tensor, mask: Tensor) -> Tensor:
    return (hidden * mask).sum(1) / mask.sum(1).clamp(min=1).sqrt()


def _max(hidden: Tensor, mask: Tensor) -> Tensor:
    return hidden.masked_fill(mask == 0, float("-inf")).amax(1)


def _first(hidden: Tensor, mask: Tensor) -> Tensor:
    return _pick(hidden, mask.argmax(1))


def _last(hidden: Tensor, mask: Tensor) -> Tensor:
    positions = torch.arange(mask.shape[1], device=mask.device)[None, :, None]
    return _pick(hidden, (positions * mask).argmax(1))


def _pick(hidden: Tensor, index: Tensor) -> Tensor:
    return hidden.gather(1, index[:, :, None].expand(-1, 1, hidden.shape[-1]))[:, 0]


# hidden [rows, tokens, width], mask [rows, tokens, 1] -> [rows, width], in the order in which sentence-transformers
# joins them when several are on.
POOLERS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "pooling_mode_cls_token": _first,
    "pooling_mode_max_tokens": _max,
    "pooling_mode_mean_tokens": _mean,
    "pooling_mode_mean_sqrt_len_tokens": _mean_sqrt,
    "pooling_mode_lasttoken": _last,
}


@dataclass(frozen=True, slots=True)
class Pooling:
    """The mean over a row's tokens, unless a model's own files say otherwise."""

    modes: tuple[str, ...] = ("pooling_mode_mean_tokens",)
    normalized: bool = False

    def embed(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """hidden [rows, tokens, width] and mask [rows, tokens] -> [rows, width · modes]."""
        weights = mask[:, :, None].to(hidden.dtype)
        embedding = torch.cat([POOLERS[mode](hidden, weights) for mode in self.modes], dim=1)
        return normalize(embedding, dim=1) if self.normalized else embedding


def read_pooling(directory: Path) -> Pooling:
    """From modules.json and the pooling's config.json.

    Raises `Invalid` where they can't be read, `Unsupported` for a step we would have to leave out.
    """
    if not (directory / "modules.json").is_file():
        return Pooling()
    try:
        return _read_steps(directory)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:  # whatever the files may hold
        message = f"modules.json or its pooling's config.json can't be read: {type(error).__name__}: {error}"
        raise Invalid(message, [Fault(("source", "path"), message)]) from error


def _read_steps(directory: Path) -> Pooling:
    modes = Pooling().modes
    normalized = False
    for step in json.loads((directory / "modules.json").read_text()):
        match step["type"].rpartition(".")[2]:
            case "Transformer":
                pass
            case "Pooling":
                modes = _read_modes(directory / step["path"] / "config.json")
            case "Normalize":
                normalized = True
            case other:
                raise _refuse(f"modules.json has a {other} step, which is not supported.")
    return Pooling(modes, normalized)


def _read_modes(file: Path) -> tuple[str, ...]:
    config: dict[str, Any] = json.loads(file.read_text())
    on = {name for name, value in config.items() if name.startswith("pooling_mode_") and value}
    if not on or on - POOLERS.keys():
        raise _refuse(
            f"{file.parent.name}/config.json asks for {', '.join(sorted(on)) or 'no pooling'}, not supported."
        )
    return tuple(mode for mode in POOLERS if mode in on)


def _refuse(message: str) -> Unsupported:
    return Unsupported(message, [Fault(("source", "path"), message)])
