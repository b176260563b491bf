from typing import Any

import pytest
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from models_registry.adapters.catalog import parse_config
from models_registry.adapters.targets import complete_config, resolve_targets
from models_registry.architecture import describe
from models_registry.errors import Invalid
from models_registry.records import Architecture

BERT = BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin1 = nn.Linear(4, 4)
        self.xlin1 = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)


class Tower(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 4)
        self.layers = nn.ModuleList([Block(), Block(), Block()])
        self.conv = nn.Conv2d(4, 6, 3, groups=2)
        self.head = nn.Linear(4, 2)


@pytest.fixture(scope="module")
def tower() -> Architecture:
    return describe(Tower())


@pytest.fixture(scope="module")
def bert() -> Architecture:
    return describe(BertForSequenceClassification(BERT))


def targets(architecture: Architecture, **fields: Any) -> list[str]:
    config = complete_config(parse_config({"peft_type": "LORA", **fields}), architecture)
    return [target.name for target in resolve_targets(config, architecture)]


def faults(architecture: Architecture, **fields: Any) -> dict[str, str]:
    """By the key of the config, the messages joined."""
    with pytest.raises(Invalid) as caught:
        targets(architecture, **fields)
    found: dict[str, str] = {}
    for fault in caught.value.faults:
        assert fault.loc[0] == "config"
        found[str(fault.loc[1])] = f"{found.get(str(fault.loc[1]), '')} {fault.message}"
    return found


def test_targets_come_in_the_order_of_the_tree(tower: Architecture) -> None:
    expected = ["layers.0.lin1", "layers.1.lin1", "layers.2.lin1", "head"]
    assert targets(tower, target_modules=["head", "lin1"]) == expected


def test_a_name_is_not_matched_by_the_end_of_another(tower: Architecture) -> None:
    assert "layers.0.xlin1" not in targets(tower, target_modules=["lin1"])


def test_the_root_is_never_a_target() -> None:
    lone = describe(nn.Linear(2, 2))
    assert "matches no module" in faults(lone, target_modules=r".*")["target_modules"]
    assert "matches no module" in faults(lone, target_modules="all-linear")["target_modules"]


def test_all_linear_takes_every_linear_layer_of_a_plain_module(tower: Architecture) -> None:
    every = targets(tower, target_modules="ALL-linear")
    assert len(every) == 7
    assert "embedding" not in every
    assert "conv" not in every


def test_all_linear_leaves_a_classifier_out_for_its_task_only(bert: Architecture) -> None:
    assert "classifier" in targets(bert, target_modules="all-linear")
    assert "classifier" not in targets(bert, target_modules="all-linear", task_type="SEQ_CLS")


def test_exclusion_comes_first(tower: Architecture) -> None:
    assert targets(tower, target_modules=["lin1"], exclude_modules=["layers.1.lin1"]) == [
        "layers.0.lin1",
        "layers.2.lin1",
    ]
    assert targets(tower, target_modules="all-linear", exclude_modules=r"layers\..*") == ["head"]
    assert "matches no module" in faults(tower, target_modules=["head"], exclude_modules=["head"])["target_modules"]


def test_layers_are_chosen_by_index_but_whole_names_are_beyond_it(tower: Architecture) -> None:
    # `layers.0.…` has no name before `layers`, so that PEFT's expression finds no index without a pattern.
    chosen = {"target_modules": ["lin1", "head"], "layers_to_transform": [0, 2], "layers_pattern": "layers"}
    assert targets(tower, **chosen) == ["layers.0.lin1", "layers.2.lin1", "head"]


@pytest.mark.parametrize(
    ("fields", "key", "word"),
    [
        ({"target_modules": ["nothing"]}, "target_modules", "'nothing'"),
        ({"target_modules": ["lin1", "nothing"]}, "target_modules", "'nothing'"),
        ({"target_modules": []}, "target_modules", "matches no module"),
        ({"target_modules": ""}, "target_modules", "matches no module"),
        ({"target_modules": r"nothing.*"}, "target_modules", "matches no module"),
        ({"target_modules": ["norm"]}, "target_modules", "LayerNorm"),
        ({"target_modules": ["layers"]}, "target_modules", "ModuleList"),
        ({"target_modules": r"layers\.0.*"}, "target_modules", "'layers.0.norm'"),
        ({"target_modules": ["conv"], "r": 3}, "target_modules", "multiple"),
        ({"target_modules": ["lin1"], "rank_pattern": {"head": 4}}, "rank_pattern", "none of the targets"),
        ({"target_modules": ["lin1"], "alpha_pattern": {"head": 4}}, "alpha_pattern", "none of the targets"),
        (
            {"target_modules": ["lin1"], "layers_to_transform": [1, 7], "layers_pattern": "layers"},
            "layers_to_transform",
            "7",
        ),
        (
            {"target_modules": ["lin1"], "peft_type": "IA3", "feedforward_modules": ["head"]},
            "feedforward_modules",
            "head",
        ),
        (
            {"target_modules": ["embedding"], "peft_type": "IA3", "feedforward_modules": []},
            "target_modules",
            "Embedding",
        ),
        ({"target_modules": ["embedding"], "peft_type": "ADALORA"}, "target_modules", "Embedding"),
        ({"target_modules": ["conv"], "peft_type": "ADALORA"}, "target_modules", "groups"),
        (
            {"target_modules": ["head"], "peft_type": "ADALORA", "rank_pattern": {"lin1.lora_E": [True] * 12}},
            "rank_pattern",
            "'lin1'",
        ),
        (
            {"target_modules": ["head"], "peft_type": "ADALORA", "rank_pattern": {"head.lora_E": [True]}},
            "target_modules",
            "1 entries",
        ),
    ],
)
def test_what_does_not_fit_is_named(tower: Architecture, fields: dict[str, Any], key: str, word: str) -> None:
    assert word in faults(tower, **fields)[key]


def test_everything_that_does_not_fit_is_listed_at_once(tower: Architecture) -> None:
    found = faults(
        tower,
        target_modules=["nothing", "norm", "lin1"],
        rank_pattern={"absent": 4},
        alpha_pattern={"also_absent": 4},
    )
    assert "'nothing'" in found["target_modules"]
    assert "'layers.2.norm'" in found["target_modules"]
    assert found.keys() == {"target_modules", "rank_pattern", "alpha_pattern"}


def test_nothing_matched_says_what_could_be_targeted(tower: Architecture) -> None:
    message = faults(tower, target_modules=["nothing"])["target_modules"]
    assert all(name in message for name in ("lin1", "xlin1", "embedding", "conv", "head"))


def test_an_unknown_architecture_has_no_default_targets(tower: Architecture) -> None:
    assert "lin1" in faults(tower)["target_modules"]


def test_defaults_are_completed_into_the_config(bert: Architecture) -> None:
    config = complete_config(parse_config({"peft_type": "IA3"}), bert)
    assert config.target_modules == ("key", "value", "output.dense")
    assert config.model_dump()["feedforward_modules"] == ("output.dense",)


def test_no_feedforward_layers_is_an_answer_that_is_kept(bert: Architecture) -> None:
    raw = {"peft_type": "IA3", "target_modules": ["key"], "feedforward_modules": []}
    assert complete_config(parse_config(raw), bert).model_dump()["feedforward_modules"] == ()


def test_a_layer_that_attention_reads_without_calling_is_never_passed_over_in_silence() -> None:
    attention = describe(nn.ModuleDict({"mha": nn.MultiheadAttention(4, 2), "linear": nn.Linear(4, 4)}))
    assert "out_proj" in faults(attention, target_modules=["out_proj"])["target_modules"]
