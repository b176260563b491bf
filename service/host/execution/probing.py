"""How a host lets rows show what its base model does with rows."""

from dataclasses import replace

from models_registry.base_models.spec import BaseModelSpec, Rows
from models_registry.injection.adapted_model import AdaptedModel
from models_registry.injection.probing.observation import Batch
from models_registry.injection.probing.row_independence import PaddedRows, Values
from service.host.execution.collate import join_rows, rows_at, shortened, tokens_of


def probe(spec: BaseModelSpec, adapted: AdaptedModel, rows: Rows | None) -> None:
    """Let `rows`, which the model takes, show what it does with rows; unless others did before. No forward may run
    beside it."""
    if adapted.profile.rows is not None or rows is None or not rows.count:
        return

    def forward(tensors: Batch) -> Values:
        count = len(next(iter(tensors.values())))
        return spec.forward(adapted.module, replace(rows, tensors=tensors, count=count))

    adapted.probe(forward, rows.tensors, _padded(rows))


def _padded(rows: Rows) -> PaddedRows | None:
    """The first row beside its own first half. None where it can't be shortened."""
    length = tokens_of(rows)
    if rows.padding is None or length < 2:
        return None
    long = rows_at(rows, [0])
    short = shortened(long, length // 2)
    return PaddedRows(short.tensors, join_rows((short, long)).tensors, (length // 2, length), rows.padding.mask)
