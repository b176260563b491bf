"""Own rows of an embedding (`trainable_token_indices`), and the same rows where its weight gives the logits."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models_registry.adapters.folded import Folded, TokenRows
from models_registry.adapters.method import BaseWeights
from models_registry.adapters.patterns import ends_with
from models_registry.errors import Invalid
from models_registry.records import Architecture, Fault, ModuleInfo

FIELD = "trainable_token_indices"


@dataclass(frozen=True, slots=True)
class TokensPlace:
    """Rows `indices` of an embedding of `width` features. `module` is the embedding, or one tied to its weight."""

    module: ModuleInfo
    key: str
    indices: tuple[int, ...]
    width: int

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {self.key: (len(self.indices), self.width)}

    def initial(self, generator: torch.Generator, base: BaseWeights) -> dict[str, Tensor]:
        return {self.key: base(f"{self.module.name}.weight").detach()[list(self.indices)]}

    def fold(self, tensors: Mapping[str, Tensor], layer: nn.Module) -> Folded:
        indices, order = torch.tensor(self.indices).sort()  # for a binary search
        return Folded(tokens=TokenRows(indices, tensors[self.key][order]))


def token_places(
    asked: Mapping[str, tuple[int, ...]] | tuple[int, ...] | None,
    taken: Collection[str],
    architecture: Architecture,
) -> list[TokensPlace]:
    """A bare list of indices means the input embedding. `taken` modules are adapted in another way already.

    Raises:
        Invalid: lists every entry that names no embedding, row that it doesn't have, and module that is taken.
    """
    if not asked:
        return []
    by_entry = asked if isinstance(asked, Mapping) else {architecture.input_embedding or "embed_tokens": asked}
    by_name = {module.name: module for module in architecture.modules}
    places: list[TokensPlace] = []
    faults: list[Fault] = []
    for entry, indices in by_entry.items():
        embeddings = [m for m in architecture.modules if ends_with(m.name, entry) and m.kind == "embedding"]
        if not embeddings:
            faults.append(Fault(("config", FIELD, entry), "names no embedding of the base model"))
        for embedding in embeddings:
            tied = architecture.tied_embeddings if embedding.name == architecture.input_embedding else ()
            faults += _faults(entry, embedding, indices, [name for name in (embedding.name, *tied) if name in taken])
            key = f"{embedding.name}.token_adapter.trainable_tokens_delta"
            width = embedding.out_features
            places += (TokensPlace(by_name[name], key, indices, width) for name in (embedding.name, *tied))
    if faults:
        raise Invalid("The config doesn't fit the base model.", faults)
    return places


def _faults(entry: str, embedding: ModuleInfo, indices: tuple[int, ...], taken: list[str]) -> Iterator[Fault]:
    loc = ("config", FIELD, entry)
    for index in indices:
        if not 0 <= index < embedding.in_features:
            yield Fault(loc, f"{index} is no row of {embedding.name!r}, which has {embedding.in_features}")
    if len(set(indices)) < len(indices):
        yield Fault(loc, "names a row twice")
    for name in taken:
        yield Fault(loc, f"{name!r} is a target or a saved module too; choose one")
