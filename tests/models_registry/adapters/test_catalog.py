from typing import Any

import pytest

from models_registry.adapters.adalora import AdaLoraConfig
from models_registry.adapters.catalog import dump_config, parse_config
from models_registry.adapters.ia3 import IA3Config
from models_registry.adapters.lora import LoraConfig
from models_registry.errors import Invalid, Unsupported

LORA: dict[str, Any] = {"peft_type": "LORA", "target_modules": ["linear"]}
ADALORA: dict[str, Any] = {"peft_type": "ADALORA", "target_modules": ["linear"]}
IA3: dict[str, Any] = {"peft_type": "IA3", "target_modules": ["linear"]}


def faulty_keys(raw: dict[str, Any], *accept_unknown: str) -> set[str]:
    with pytest.raises(Invalid) as caught:
        parse_config(raw, accept_unknown)
    assert all(fault.loc[0] == "config" and fault.message for fault in caught.value.faults)
    return {str(fault.loc[1]) for fault in caught.value.faults if len(fault.loc) > 1}


@pytest.mark.parametrize(("raw", "kind"), [(LORA, LoraConfig), (ADALORA, AdaLoraConfig), (IA3, IA3Config)])
def test_the_method_is_chosen_by_peft_type(raw: dict[str, Any], kind: type) -> None:
    assert type(parse_config(raw)) is kind


@pytest.mark.parametrize("peft_type", ["LOHA", "lora", "", None, 3, ["LORA"], {}])
def test_another_method_is_refused_with_those_that_are_served(peft_type: object) -> None:
    with pytest.raises(Unsupported, match="LORA, ADALORA, IA3"):
        parse_config({"peft_type": peft_type})


def test_a_config_without_a_method_is_refused() -> None:
    assert faulty_keys({"r": 8}) == {"peft_type"}


@pytest.mark.parametrize(
    ("raw", "key", "value"),
    [
        (LORA, "r", "8"),
        (LORA, "r", 8.0),
        (LORA, "r", True),
        (LORA, "r", 0),
        (LORA, "r", -1),
        (LORA, "r", None),
        (LORA, "lora_alpha", "16"),
        (LORA, "lora_alpha", True),
        (LORA, "lora_alpha", float("nan")),
        (LORA, "lora_alpha", float("inf")),
        (LORA, "lora_alpha", 1e39),
        (LORA, "lora_alpha", -(10**400)),
        (LORA, "alpha_pattern", {"linear": 10**400}),
        (LORA, "lora_dropout", 1.5),
        (LORA, "lora_dropout", -0.1),
        (LORA, "use_rslora", 1),
        (LORA, "use_rslora", "true"),
        (LORA, "target_modules", 3),
        (LORA, "target_modules", ["linear", 3]),
        (LORA, "target_modules", {"linear": 1}),
        (LORA, "exclude_modules", [None]),
        (LORA, "rank_pattern", {"linear": "4"}),
        (LORA, "rank_pattern", {"linear": 0}),
        (LORA, "rank_pattern", ["linear"]),
        (LORA, "alpha_pattern", {"linear": None}),
        (LORA, "layers_to_transform", "1"),
        (LORA, "layers_to_transform", [1.5]),
        (LORA, "layers_to_transform", True),
        (LORA, "bias", "some"),
        (LORA, "init_lora_weights", 1),
        (ADALORA, "lora_alpha", 10**400),
        (ADALORA, "init_r", 0),
        (ADALORA, "target_r", -1),
        (ADALORA, "deltaT", 0),
        (ADALORA, "tinit", -1),
        (ADALORA, "total_step", "10"),
        (ADALORA, "rank_pattern", {"linear.lora_E": [1, 0]}),
        (ADALORA, "rank_pattern", {"linear.lora_E": True}),
        (IA3, "feedforward_modules", 3),
        (IA3, "init_ia3_weights", "yes"),
    ],
)
def test_a_value_of_a_wrong_type_or_out_of_range_is_named(raw: dict[str, Any], key: str, value: object) -> None:
    assert faulty_keys({**raw, key: value}) == {key}


@pytest.mark.parametrize(
    ("key", "value"), [("lora_dropout", 0), ("lora_dropout", 1), ("lora_alpha", 2.5), ("lora_alpha", 0)]
)
def test_a_number_may_be_written_as_an_integer_where_peft_takes_either(key: str, value: float) -> None:
    assert getattr(parse_config({**LORA, key: value}), key) == value


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("kasa_config", {"beta": 1.0}),
        ("layer_replication", [[0, 4], [2, 5]]),
        ("target_parameters", ["experts.gate_up_proj"]),
        ("use_qalora", True),
        ("alora_invocation_tokens", [1, 2]),
        ("megatron_config", {"a": 1}),
        ("arrow_config", {"a": 1}),
    ],
)
def test_a_feature_that_is_not_served_is_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(Unsupported) as caught:
        parse_config({**LORA, key: value})
    (fault,) = caught.value.faults
    assert fault.loc == ("config", key)
    assert key in fault.message


@pytest.mark.parametrize(
    "init",
    ["pissa", "pissa_niter_4", "olora", "loftq", "corda", "lora_ga", "something new"],
)
def test_an_initialisation_that_rewrites_the_base_is_refused_by_name(init: str) -> None:
    with pytest.raises(Invalid, match=init):
        parse_config({**LORA, "init_lora_weights": init})


@pytest.mark.parametrize("init", ["pissa", "olora", "corda", "lora_ga"])
def test_where_peft_can_convert_the_refusal_says_how(init: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_config({**LORA, "init_lora_weights": init})
    assert "path_initial_model_for_weight_conversion" in caught.value.faults[0].message


@pytest.mark.parametrize("key", ["loftq_config", "eva_config", "corda_config", "lora_ga_config"])
def test_the_options_of_another_initialisation_are_kept_as_peft_ignores_them(key: str) -> None:
    assert dump_config(parse_config({**LORA, key: {"a": 1}}))[key] == {"a": 1}


@pytest.mark.parametrize("raw", [LORA, ADALORA, IA3])
@pytest.mark.parametrize("value", [1, 0, 0.0, True, "x", [1], {"a": None}, -1])
def test_an_unknown_key_that_says_something_is_refused_unless_accepted(raw: dict[str, Any], value: object) -> None:
    assert faulty_keys({**raw, "future_option": value}) == {"future_option"}
    assert dump_config(parse_config({**raw, "future_option": value}, ["future_option"]))["future_option"] == value


@pytest.mark.parametrize("value", [None, False, "", [], {}])
def test_an_unknown_key_that_says_nothing_is_kept(value: object) -> None:
    written = dump_config(parse_config({**LORA, "future_option": value}))
    assert written["future_option"] == value
    assert type(written["future_option"]) is type(value)


def test_everything_wrong_is_listed_at_once() -> None:
    raw = {**LORA, "r": "8", "lora_dropout": 2, "init_lora_weights": "pissa", "kasa_config": {"a": 1}, "future": 1}
    assert faulty_keys(raw) == {"r", "lora_dropout", "init_lora_weights", "kasa_config", "future"}


@pytest.mark.parametrize("raw", [LORA, ADALORA])
@pytest.mark.parametrize("fields", [{"layers_to_transform": [0]}, {"layers_pattern": "layers"}])
def test_layers_are_chosen_from_a_list_of_targets_only(raw: dict[str, Any], fields: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match=next(iter(fields))):
        parse_config({**raw, "target_modules": r".*linear", **fields})


def test_a_layers_pattern_alone_chooses_nothing() -> None:
    with pytest.raises(Invalid, match="layers_to_transform"):
        parse_config({**LORA, "layers_pattern": ["layers"]})
    assert parse_config({**LORA, "layers_pattern": ["layers"], "layers_to_transform": 0})


@pytest.mark.parametrize(("tinit", "tfinal", "total_step"), [(10, 0, 10), (5, 5, 10), (11, 0, 10)])
def test_a_schedule_without_time_to_prune_is_refused(tinit: int, tfinal: int, total_step: int) -> None:
    with pytest.raises(Invalid, match="tinit"):
        parse_config({**ADALORA, "tinit": tinit, "tfinal": tfinal, "total_step": total_step})


def test_a_schedule_with_one_step_to_prune_is_taken() -> None:
    assert parse_config({**ADALORA, "tinit": 4, "tfinal": 5, "total_step": 10})


def test_sets_are_written_as_sorted_lists_and_lists_as_they_stand() -> None:
    config = LoraConfig(target_modules={"v", "q", "k"})  # pyright: ignore[reportArgumentType] - PEFT's own type
    assert dump_config(config)["target_modules"] == ["k", "q", "v"]
    assert dump_config(parse_config({**LORA, "target_modules": ["v", "q"]}))["target_modules"] == ["v", "q"]


@pytest.mark.parametrize("raw", [LORA, ADALORA, IA3])
def test_what_is_written_reads_back_as_the_same_config(raw: dict[str, Any]) -> None:
    config = parse_config({**raw, "task_type": "CAUSAL_LM", "peft_version": "9.9"})
    assert parse_config(dump_config(config)) == config


def test_a_config_never_changes() -> None:
    with pytest.raises(Exception, match="frozen"):
        parse_config(LORA).r = 3  # pyright: ignore[reportAttributeAccessIssue] - what is tested
