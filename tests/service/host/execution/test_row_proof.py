"""What a base model may look like from the outside and still mix its rows."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import bases
import pytest
import torch
from torch import Tensor, nn
from transformers import BertForSequenceClassification, BertModel, PreTrainedModel
from word_models import bert_config, save, tiny_llama, word_tokenizer

from models_registry.base_models.huggingface import HuggingFaceSpec
from models_registry.base_models.opening import open_spec
from models_registry.base_models.sources import SourcePolicy
from models_registry.base_models.spec import Padding, Rows
from models_registry.inputs.values import Inputs, OutputValue
from models_registry.records import HuggingFaceSource
from service.host.execution.row_proof import NOTHING, RowProof, prove_rows

X = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
IDS = torch.tensor([[3, 4, 5, 6, 7, 8]])


class Plain:
    """Calls the module with the rows' tensors."""

    task: str | None = None
    absent_head = None

    def build(self, device: torch.device, dtype: torch.dtype | None) -> nn.Module:
        return bases.mlp()

    def prepare(self, inputs: Inputs, chat: bool | None, parameters: Mapping[str, Any] | None) -> Inputs:
        return inputs

    def default_outputs(self, inputs: Inputs) -> None:
        return None

    def read(self, module: nn.Module, inputs: Inputs) -> Rows:
        return Rows(inputs.tensors, 1)

    def forward(self, module: nn.Module, rows: Rows) -> Mapping[str, OutputValue]:
        return module(**rows.tensors)

    def example(self, module: nn.Module) -> Rows | None:
        return None

    def generate(
        self,
        module: nn.Module,
        inputs: Inputs,
        parameters: Mapping[str, Any],
        stopped: Callable[[], bool],
        places: Sequence[int] = (),
    ) -> tuple[str, ...]:
        return ()

    def joins(self, parameters: Mapping[str, Any]) -> bool:
        return False


class Several(nn.Module):
    """Outputs of every sort."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Mapping[str, OutputValue]:
        y: Tensor = self.linear(x)
        return {
            "own": y,
            "words": tuple(str(int(row.argmax())) for row in y),
            "total": y.sum(),
            "table": torch.ones(5, 2),
            "centred": y - y.mean(0),
            "counted": torch.arange(len(x)),
            "across": y.T,
        }


class Tokens(nn.Module):
    """Hides what the mask hides, unless `leaky`; then a token sees its right neighbour, whatever that is."""

    def __init__(self, leaky: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self._leaky = leaky

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Mapping[str, Tensor]:
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        states = self.embedding(input_ids)
        if self._leaky:
            states = states + nn.functional.pad(states, (0, 0, 0, 1))[:, 1:]
        weights = mask[:, :, None].to(states.dtype)
        return {"states": states, "pooled": (states * weights).sum(1) / weights.sum(1)}


def proof(module: nn.Module, tensors: Mapping[str, Tensor], padding: Padding | None = None) -> RowProof | None:
    rows = Rows(tensors, len(next(iter(tensors.values()))), padding=padding)
    return prove_rows(Plain(), module.eval(), rows)


def test_outputs_are_told_apart_by_whether_each_row_gets_what_it_gets_alone() -> None:
    found = proof(Several(), {"x": X})
    assert found is not None
    assert found.by_row == {"own", "words"}
    assert found.whole == {"total", "table", "centred", "counted", "across"}


def test_only_proven_outputs_of_proven_inputs_may_be_shared() -> None:
    found = proof(Several(), {"x": X})
    assert found is not None
    assert found.covers(Rows({"x": X}, 2), ("own",))
    assert not found.covers(Rows({"x": X}, 2), None)
    assert not found.covers(Rows({"x": X}, 2), ("own", "total"))
    assert not found.covers(Rows({"x": X}, 2), ("nowhere",))
    assert not found.covers(Rows({"x": X, "y": X}, 2), ("own",))
    assert not found.covers(Rows({"x": X}, None), ("own",))
    assert not NOTHING.covers(Rows({"x": X}, 2), ("own",))


def test_rows_that_are_all_alike_show_nothing() -> None:
    assert proof(Several(), {"x": torch.zeros(2, 4)}) is None


def test_a_model_that_takes_no_three_rows_stays_unproven() -> None:
    class One(nn.Module):
        def forward(self, x: Tensor) -> Mapping[str, Tensor]:
            return {"y": x.reshape(1, 4)}

    assert proof(One(), {"x": X[:1]}) == NOTHING


@pytest.mark.parametrize(("leaky", "by_token"), [(False, frozenset({"states"})), (True, None)])
def test_padding_is_allowed_only_where_no_token_sees_what_is_behind_it(
    leaky: bool, by_token: frozenset[str] | None
) -> None:
    torch.manual_seed(0)
    padding = Padding({"input_ids": 0, "attention_mask": 0}, "attention_mask")
    found = proof(Tokens(leaky), {"input_ids": IDS}, padding)
    assert found is not None
    assert found.by_row == {"states", "pooled"}
    assert found.by_token == by_token
    assert ("attention_mask" in found.inputs) is not leaky


@pytest.mark.parametrize(
    ("model", "task", "by_row", "by_token"),
    [
        (
            lambda: BertModel(bert_config()),
            None,
            {"last_hidden_state", "pooler_output", "embedding"},
            {"last_hidden_state"},
        ),
        (lambda: BertForSequenceClassification(bert_config()), None, {"logits", "label", "score"}, set[str]()),
        (tiny_llama, None, {"logits", "next_token", "score"}, {"logits"}),
    ],
)
def test_transformers_are_proven_by_their_own_example(
    tmp_path: Path, model: Any, task: str | None, by_row: set[str], by_token: set[str]
) -> None:
    spec, module = built(model(), tmp_path)
    rows = spec.example(module)
    assert rows is not None
    found = prove_rows(spec, module, rows)
    assert found is not None
    assert (found.by_row, found.whole, found.by_token) == (by_row, frozenset(), by_token)


def built(model: PreTrainedModel, directory: Path) -> tuple[HuggingFaceSpec, nn.Module]:
    save(model, word_tokenizer(), directory / "model")
    spec = open_spec(HuggingFaceSource(str(directory / "model")), None, SourcePolicy((directory,), ()))
    assert isinstance(spec, HuggingFaceSpec)
    return spec, spec.build(torch.device("cpu"), None)
