"""Which requests of one base model may share a forward: those of one kind, once small forwards have proven that each
row gets what it would get alone. Whatever isn't proven runs alone.
"""

import json
from collections.abc import Sequence
from typing import Final

import torch

from models_registry.base_models.spec import BaseModelSpec, Rows
from models_registry.injection.adapted_model import AdaptedModel
from models_registry.injection.probing.row_independence import NOTHING, RowProof
from models_registry.inputs.values import Inputs
from service.host.execution.collate import tokens_of
from service.host.execution.probing import probe
from service.host.scheduling.job import BatchKey
from service.protocol.types import InferCall, Selection


class BatchPolicy:
    def __init__(self, spec: BaseModelSpec, adapted: AdaptedModel) -> None:
        self.spec: Final = spec
        self._adapted = adapted

    @property
    def proof(self) -> RowProof:
        return self._adapted.profile.rows or NOTHING

    def learn(self, rows: Rows | None) -> None:
        """Let `rows`, which the model takes, show what it does with rows; unless others did before. No forward may run
        beside it."""
        probe(self.spec, self._adapted, rows)

    def default_outputs(self, inputs: Inputs) -> tuple[str, ...] | None:
        """What these inputs get where their caller names nothing; None: all that the model gives."""
        names = self.spec.default_outputs(inputs)
        known = self.proof.by_row | self.proof.whole
        return None if names is None or (known and not known.issuperset(names)) else names

    def is_unproven(self, rows: Rows) -> bool:
        """Whether nothing has shown yet what the model does with rows such as these."""
        return self._adapted.profile.rows is None and rows.count is not None

    def divides(self, request: InferCall, rows: Rows | None) -> bool:
        """Whether the request's rows may be given to several forwards. A text's continuation is always its own."""
        return rows is None or self._covers(rows, request)

    def has_rows(self, request: InferCall, rows: Rows) -> bool:
        """Whether the leading dimension may be one of rows, as far as the outputs go that are asked for."""
        known = self._adapted.profile.rows is not None
        return rows.count is not None and not (known and self.proof.is_without_rows(request.outputs))

    def batch_key(self, request: InferCall, selections: Sequence[Selection], rows: Rows | None) -> BatchKey | None:
        """What a request must have in common with others to share their forward; None: it runs alone. Any thread may
        ask. Raises as the spec's `joins`."""
        if any(part.key in self._adapted.inactive for selection in selections for part in selection.parts):
            return None  # it acted on nothing before, and would again fail the batch that it is in
        if rows is None:
            return self._batch_key_of_texts(request)
        if not self._covers(rows, request):
            return None
        proof = self.proof
        if rows.padding is None or proof.by_token is None:
            return BatchKey((rows.from_text, frozenset((k, v.dtype, v.shape[1:]) for k, v in rows.tensors.items())))
        fill = rows.padding.fill
        # A mask is added where others bring one, which then is of this dtype.
        shapes = {rows.padding.mask: (torch.long, torch.Size())}
        shapes |= {k: (v.dtype, v.shape[2:] if k in fill else v.shape[1:]) for k, v in rows.tensors.items()}
        return BatchKey((rows.from_text, frozenset(shapes.items())), tokens_of(rows))

    def _covers(self, rows: Rows, request: InferCall) -> bool:
        return rows.count is not None and self.proof.covers(rows.tensors.keys(), request.outputs)

    def _batch_key_of_texts(self, request: InferCall) -> BatchKey | None:
        parameters = request.parameters or {}
        if request.outputs not in (None, ("text",)) or not self.spec.joins(parameters):
            return None
        return BatchKey((request.inputs.is_templated, json.dumps(dict(parameters), sort_keys=True)))
