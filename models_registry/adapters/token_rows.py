"""Own rows of a weight with one row per token (`trainable_token_indices`): what an embedding looks up, and the logits
that an output layer gives, whether its weight is tied to the embedding's or its own."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from models_registry.adapters.folded import Folded, TokenRows
from models_registry.adapters.method import BaseWeights
from models_registry.errors import Invalid
from models_registry.records import Architecture, Fault, ModuleInfo

FIELD = "trainable_token_indices"
Indices: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TokensPlace:
    """Rows `indices` of the weight of `module`, saved under `key`. That is another module's where the weight is tied:
    both use the same rows."""

    module: ModuleInfo
    key: str
    indices: Indices

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {self.key: (len(self.indices), _width(self.module))}

    def initial(self, generator: torch.Generator, base: BaseWeights) -> dict[str, Tensor]:
        return {self.key: base(f"{self.module.name}.weight").detach()[list(self.indices)]}

    def fold(self, tensors: Mapping[str, Tensor], layer: nn.Module) -> Folded:
        indices, order = torch.tensor(self.indices).sort()  # for a binary search
        tokens = TokenRows(indices, tensors[self.key][order])
        # PEFT multiplies by the new weight and adds no bias, in training too: the rows are trained for that.
        bias = getattr(layer, "bias", None)
        return Folded(tokens=tokens, output_shift=None if bias is None else -bias.detach())


def token_places(
    asked: Mapping[str, Indices] | Indices | None,
    bias: str,
    taken: Collection[str],
    architecture: Architecture,
) -> list[TokensPlace]:
    """A bare list of indices means the input embedding. `taken` modules are adapted in another way already; `bias` is
    the config's.

    Raises:
        Invalid: lists every entry that names no embedding and no linear layer, row that it doesn't have, and module
            that is taken.
    """
    if not asked:
        return []
    by_entry = asked if isinstance(asked, Mapping) else {architecture.input_embedding or "embed_tokens": asked}
    by_name = {module.name: module for module in architecture.modules}
    tied = _tied(by_entry, architecture)
    places: list[TokensPlace] = []
    faults: list[Fault] = []
    for entry, indices in by_entry.items():
        if tied and entry in architecture.tied_embeddings:
            continue  # the input embedding's rows, which it shares
        # As PEFT looks for them: no dot need stand before the entry.
        owners = [module for module in architecture.modules if module.name and module.name.endswith(entry)]
        if not owners:
            faults.append(Fault(("config", FIELD, entry), "names no module of the base model"))
        for owner in owners:
            sharing = architecture.tied_embeddings if tied and owner.name == architecture.input_embedding else ()
            names = (owner.name, *sharing)
            adapted = {*taken, *(place.module.name for place in places)}
            faults += _faults(entry, owner, indices, [name for name in names if name in adapted])
            faults += _biases(entry, [by_name[name] for name in names], bias)
            key = f"{owner.name}.token_adapter.trainable_tokens_delta"
            places += (TokensPlace(by_name[name], key, indices) for name in names)
    if faults:
        raise Invalid("The config doesn't fit the base model.", faults)
    return places


def _tied(by_entry: Mapping[str, Indices], architecture: Architecture) -> bool:
    """Whether what is tied to the input embedding uses its rows: unless a config gives them different ones."""
    embedding = architecture.input_embedding
    if embedding is None or not architecture.tied_embeddings:
        return False
    sharing = [
        indices
        for entry, indices in by_entry.items()
        if embedding.endswith(entry)
        or any(name.endswith(entry) or entry in name.split(".") for name in architecture.tied_embeddings)
    ]
    return all(indices == sharing[0] for indices in sharing) and any(embedding.endswith(entry) for entry in by_entry)


def _faults(entry: str, owner: ModuleInfo, indices: Indices, adapted: Sequence[str]) -> Iterator[Fault]:
    loc = ("config", FIELD, entry)
    if owner.kind not in ("embedding", "linear"):
        reason = owner.refusal or f"it is a {owner.type}"
        yield Fault(loc, f"{owner.name!r} is neither an embedding nor a linear layer with rows of its own: {reason}")
        return
    rows = owner.in_features if owner.kind == "embedding" else owner.out_features
    for index in indices:
        if not 0 <= index < rows:
            yield Fault(loc, f"{index} is no row of {owner.name!r}, which has {rows}")
    if len(set(indices)) < len(indices):
        yield Fault(loc, "names a row twice")
    for name in adapted:
        yield Fault(loc, f"{name!r} is a target, a saved module or named by another entry too; choose one")


def _biases(entry: str, modules: Sequence[ModuleInfo], bias: str) -> Iterator[Fault]:
    for module in modules:
        if bias == "all" and "bias" in module.parameters:
            yield Fault(
                ("config", FIELD, entry), f"{module.name!r} has a bias, which bias='all' trains too; choose one"
            )


def _width(module: ModuleInfo) -> int:
    return module.out_features if module.kind == "embedding" else module.in_features
