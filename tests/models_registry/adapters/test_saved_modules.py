"""Which modules an adapter brings its own copy of, and where such a copy can't run."""

from typing import Any

import pytest
import torch
from parity.architectures import architecture, token_ids
from tolerance import assert_same_in_float32
from torch import nn

from models_registry.adapters.catalog import parse_config
from models_registry.adapters.checkpoint import fresh_checkpoint, match_checkpoint
from models_registry.adapters.saved_modules import saved_modules, with_heads
from models_registry.architecture import describe
from models_registry.errors import Invalid
from models_registry.injection import AdaptedModel
from models_registry.records import Architecture

LORA: dict[str, Any] = {"peft_type": "LORA", "r": 2}


@pytest.fixture(scope="module")
def distilbert() -> Architecture:
    return describe(architecture("distilbert classifier"))


@pytest.mark.parametrize(
    ("entry", "names"),
    [
        ("classifier", {"pre_classifier", "classifier"}),
        ("pre_classifier", {"pre_classifier"}),
        ("layer.1.ffn", {"distilbert.transformer.layer.1.ffn"}),
        ("lin2", {"distilbert.transformer.layer.0.ffn.lin2", "distilbert.transformer.layer.1.ffn.lin2"}),
        ("distilbert", {"distilbert"}),
        ("absent", set()),
    ],
)
def test_an_entry_saves_every_module_whose_name_it_ends_as_in_peft(
    distilbert: Architecture, entry: str, names: set[str]
) -> None:
    assert {module.name for module in saved_modules((entry,), distilbert)} == names


def test_what_is_inside_a_saved_module_is_saved_with_it_once(distilbert: Architecture) -> None:
    assert [module.name for module in saved_modules(("layer.1.ffn", "layer.1.ffn.lin2"), distilbert)] == [
        "distilbert.transformer.layer.1.ffn"
    ]


@pytest.mark.parametrize("task", [None, "CAUSAL_LM", "FEATURE_EXTRACTION"])
def test_other_tasks_save_no_head(distilbert: Architecture, task: str | None) -> None:
    assert with_heads(task, None, distilbert) == ()


def test_a_classifier_that_is_made_here_saves_its_head_and_an_upload_without_one_is_taken_as_it_is(
    distilbert: Architecture,
) -> None:
    base = architecture("distilbert classifier")
    config = parse_config({**LORA, "target_modules": ["q_lin"], "task_type": "SEQ_CLS"})
    made = fresh_checkpoint(config, distilbert, 0, base.get_parameter)
    assert made.config.modules_to_save == ("classifier",)
    assert torch.equal(made.tensors["pre_classifier.weight"], base.get_parameter("pre_classifier.weight"))
    bare = {key: tensor for key, tensor in made.tensors.items() if "lora_" in key}
    assert match_checkpoint(config, bare, distilbert).tensors.keys() == bare.keys()


def test_a_copy_of_a_layer_runs_without_a_cache_and_refuses_to_share_one() -> None:
    base, inputs = architecture("llama"), token_ids("llama")
    adapted = AdaptedModel(base)
    config = parse_config({**LORA, "target_modules": ["layers.0.mlp.up_proj"], "modules_to_save": ["layers.1"]})
    checkpoint = adapted.inject_adapter("x", config, seed=0)
    moved = {k: t + 0.05 for k, t in checkpoint.tensors.items() if k.startswith("model.layers.1")}
    adapted.load_adapter_state_dict("x", {**checkpoint.tensors, **moved})
    with torch.no_grad():
        plain = base(**inputs, use_cache=False).logits
        with adapted.routed_whole({"x": 1.0}):
            assert not torch.allclose(base(**inputs, use_cache=False).logits, plain)
            with pytest.raises(Invalid, match=r"own copy of 'model.layers.1.*cache"):
                base(**inputs, use_cache=True)
    adapted.eject_adapter("x")


class Answers(nn.Module):
    """A module without arguments beside one that answers with a mapping."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.table = Table()
        self.named = Named()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.named(self.first(x) + self.table())["value"]


class Table(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))

    def forward(self) -> torch.Tensor:
        return self.weight * 2


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"value": self.inner(x)}


def test_a_copy_may_take_nothing_and_answer_with_a_mapping() -> None:
    torch.manual_seed(0)
    model = Answers()
    adapted = AdaptedModel(model)
    config = parse_config({**LORA, "target_modules": ["first"], "modules_to_save": ["table", "named"]})
    checkpoint = adapted.inject_adapter("x", config, seed=0)
    adapted.load_adapter_state_dict(
        "x", {**checkpoint.tensors, "table.weight": torch.full((4,), 5.0), "named.inner.bias": torch.ones(3)}
    )
    x = torch.randn(2, 4)
    with torch.no_grad(), adapted.routed_whole({"x": 1.0}):
        actual = model(x)
    expected = (model.first(x) + 10) @ model.named.inner.weight.T + 1
    assert_same_in_float32(actual, expected)
    with pytest.raises(Invalid, match="can't be told apart"), adapted.routed([{"x": 1.0}, {}]):
        model(x)
