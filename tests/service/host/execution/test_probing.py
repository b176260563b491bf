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
from models_registry.base_models.spec import BaseModelSpec, Padding, Rows
from models_registry.base_models.writing import Prompt, TokenDrawer
from models_registry.injection.adapted_model import AdaptedModel
from models_registry.injection.probing.row_independence import NOTHING, RowProof
from models_registry.inputs.values import Inputs, OutputValue
from models_registry.records import HuggingFaceSource
from service.host.execution.probing import probe

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

    def write(self, module: nn.Module, inputs: Inputs, parameters: Mapping[str, Any], drawer: TokenDrawer) -> None:
        raise NotImplementedError

    def writer(self, module: nn.Module) -> None:
        return None

    def prompts(self, inputs: Inputs, parameters: Mapping[str, Any]) -> tuple[Prompt, ...]:
        raise NotImplementedError

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


def proof_of(spec: BaseModelSpec, module: nn.Module, rows: Rows) -> RowProof | None:
    adapted = AdaptedModel(module)
    probe(spec, adapted, rows)
    return adapted.profile.rows


def proof(module: nn.Module, tensors: Mapping[str, Tensor], padding: Padding | None = None) -> RowProof | None:
    rows = Rows(tensors, len(next(iter(tensors.values()))), padding=padding)
    return proof_of(Plain(), module.eval(), rows)


def test_outputs_are_told_apart_by_whether_each_row_gets_what_it_gets_alone() -> None:
    found = proof(Several(), {"x": X})
    assert found is not None
    assert found.by_row == {"own", "words"}
    assert found.whole == {"total", "table", "centred", "counted", "across"}


def test_only_proven_outputs_of_proven_inputs_may_be_shared() -> None:
    found = proof(Several(), {"x": X})
    assert found is not None
    assert found.covers({"x"}, ("own",))
    assert not found.covers({"x"}, None)
    assert not found.covers({"x"}, ("own", "total"))
    assert not found.covers({"x"}, ("nowhere",))
    assert not found.covers({"x", "y"}, ("own",))
    assert not NOTHING.covers({"x"}, ("own",))


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


def test_a_model_is_probed_by_a_dozen_forwards_and_once() -> None:
    counted: list[int] = []

    class Counted(Plain):
        def forward(self, module: nn.Module, rows: Rows) -> Mapping[str, OutputValue]:
            counted.append(rows.count or 0)
            return super().forward(module, rows)

    adapted, padding = (
        AdaptedModel(Tokens(False).eval()),
        Padding({"input_ids": 0, "attention_mask": 0}, "attention_mask"),
    )
    for _ in range(2):
        probe(Counted(), adapted, Rows({"input_ids": IDS}, 1, padding=padding))
    # Watched for reads, three orders of three rows together, two of them alone, and half a row and that padded.
    assert sorted(counted) == [*[1] * 7, 2, *[3] * 4]


def test_other_rows_show_what_rows_that_are_alike_did_not() -> None:
    adapted = AdaptedModel(Several().eval())
    probe(Plain(), adapted, Rows({"x": torch.zeros(2, 4)}, 2))
    coverage = adapted.profile.coverage
    assert coverage is not None
    assert adapted.profile.rows is None
    probe(Plain(), adapted, Rows({"x": X}, 2))
    assert adapted.profile.coverage == coverage
    assert adapted.profile.rows is not None
    assert adapted.profile.rows.by_row == {"own", "words"}


@pytest.mark.parametrize(
    ("model", "task", "by_row", "by_token"),
    [
        (
            lambda: BertModel(bert_config()),
            None,
            {"last_hidden_state", "pooler_output", "embedding", "token_count"},
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
    found = proof_of(spec, module, rows)
    assert found is not None
    assert (found.by_row, found.whole, found.by_token) == (by_row, frozenset(), by_token)


def built(model: PreTrainedModel, directory: Path) -> tuple[HuggingFaceSpec, nn.Module]:
    save(model, word_tokenizer(), directory / "model")
    spec = open_spec(HuggingFaceSource(str(directory / "model")), None, SourcePolicy((directory,), ()))
    assert isinstance(spec, HuggingFaceSpec)
    return spec, spec.build(torch.device("cpu"), None)
