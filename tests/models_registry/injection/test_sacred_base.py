"""Whatever is injected, run, replaced, ejected or fails: the base model is bit by bit what it was."""

import copy
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from adapting import picture, same
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tolerance import assert_same
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers.pytorch_utils import Conv1D

from models_registry.adapters.catalog import AdapterConfig, parse_config
from models_registry.adapters.checkpoint import match_checkpoint
from models_registry.architecture import describe
from models_registry.errors import Invalid, NotFound
from models_registry.injection import AdaptedModel
from models_registry.injection.layer import Adapters

ROWS = 4
IDS = torch.arange(ROWS * 5).view(ROWS, 5) % 9


class EveryLayer(nn.Module):
    """Token ids `[rows, 5]` in, logits over them out. Its head is tied to its embedding, `mix` stands in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 8)
        self.mix = nn.Linear(8, 8)
        self.conv1d = Conv1D(8, 8)
        self.norm = nn.LayerNorm(8)
        self.conv1 = nn.Conv1d(8, 8, 3, padding=1, groups=2)
        self.batch_norm = nn.BatchNorm1d(8)
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True)
        self.conv2 = nn.Conv2d(1, 2, 3, padding=1)
        self.conv3 = nn.Conv3d(1, 2, 3, padding=1)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Sequential(nn.Linear(8, 8), nn.Tanh())
        self.mix_again = self.mix
        self.lm_head = nn.Linear(8, 9, bias=False)
        self.lm_head.weight = self.embedding.weight
        self.spare = nn.Linear(8, 8)
        self.register_buffer("scale", torch.full((8,), 1.5))
        self.register_buffer("hidden", torch.full((8,), 0.5), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.norm(self.conv1d(self.mix(self.embedding(ids)))) * self.scale + self.hidden
        x = self.batch_norm(self.conv1(x.transpose(1, 2))).transpose(1, 2)
        x = x + self.attention(x, x, x)[0]
        x = x + self.conv2(x[:, None]).mean(1) + self.conv3(x[:, None, None]).mean((1, 2))
        return self.lm_head(self.mix_again(self.head(self.drop(x))))


def every_layer() -> nn.Module:
    """In float64, for so many layers with large random adapters multiply float32's last bits until they show."""
    torch.manual_seed(0)
    model = EveryLayer()
    model.spare.requires_grad_(False)
    model.mix.register_forward_hook(_nothing)
    return model.double().eval()


def _nothing(*_: object) -> None:
    """A hook of the base model's own."""


LORA: dict[str, Any] = {"peft_type": "LORA", "r": 2, "init_lora_weights": False}
DORA: dict[str, Any] = {**LORA, "use_dora": True}
ADALORA: dict[str, Any] = {"peft_type": "ADALORA", "init_r": 2, "init_lora_weights": False}
IA3: dict[str, Any] = {"peft_type": "IA3", "init_ia3_weights": False}
EVERYWHERE = ["embedding", "mix", "conv1d", "conv1", "conv2", "conv3", "head.0"]
RAWS: Mapping[str, dict[str, Any]] = {
    "lora": {**LORA, "target_modules": [*EVERYWHERE, "attention", "lm_head"]},
    "lora on the shared one": {**LORA, "target_modules": ["mix"], "lora_dropout": 0.5},
    "lora on the tied ends": {**LORA, "target_modules": ["embedding", "lm_head"], "use_rslora": True},
    "lora bias": {**LORA, "target_modules": ["mix", "conv3"], "lora_bias": True},
    "lora with all biases": {**LORA, "target_modules": ["mix", "attention"], "bias": "all"},
    "lora with its biases": {**LORA, "target_modules": ["mix", "conv1"], "bias": "lora_only"},
    "lora and copies": {**LORA, "target_modules": ["mix"], "modules_to_save": ["batch_norm", "head", "conv2"]},
    "lora and a copied end": {**LORA, "target_modules": ["conv1d"], "modules_to_save": ["lm_head", "attention"]},
    "lora and tokens": {**LORA, "target_modules": ["mix"], "trainable_token_indices": {"embedding": [3, 1]}},
    "dora": {**DORA, "target_modules": EVERYWHERE},
    "dora with all biases": {**DORA, "target_modules": ["mix"], "bias": "all"},
    "adalora": {**ADALORA, "target_modules": ["mix", "conv1d", "conv2"]},
    "adalora pruned": {
        **ADALORA,
        "target_modules": ["mix", "conv2"],
        "rank_pattern": {"mix.lora_E": [False, False], "conv2.lora_E": [True, False]},
    },
    "adalora and copies": {**ADALORA, "target_modules": ["mix"], "modules_to_save": ["norm"]},
    "ia3": {**IA3, "target_modules": ["mix", "conv1d", "conv2", "conv3"], "feedforward_modules": ["conv1d", "conv3"]},
    "ia3 and copies": {**IA3, "target_modules": ["mix"], "feedforward_modules": ["mix"], "modules_to_save": ["conv1"]},
}
WRONG: Mapping[str, dict[str, Any]] = {
    "absent": {**LORA, "target_modules": ["mix", "absent"]},
    "unfit": {**LORA, "target_modules": ["mix", "norm"]},
    "not saved": {**LORA, "target_modules": ["mix"], "modules_to_save": ["absent"]},
    "no such token": {**LORA, "target_modules": ["mix"], "trainable_token_indices": {"embedding": [9]}},
    "rank and groups": {**LORA, "r": 3, "target_modules": ["mix", "conv1"]},
    "ia3 on an embedding": {**IA3, "target_modules": ["embedding"], "feedforward_modules": []},
}
NAMES = ("a", "b", "a.b", "keys", "mix")
INSTALLING: tuple[tuple[type, str], ...] = (
    (nn.Module, "add_module"),
    (nn.Module, "register_forward_pre_hook"),
    (nn.Module, "register_forward_hook"),
    (Adapters, "install"),
)


class Broken(Exception):
    pass


def failing_at(original: Callable[..., Any], count: int, *, after: bool) -> Callable[..., Any]:
    """`original`, which raises at its `count`th call: before it did its work, or after."""
    calls = itertools.count()

    def call(*args: Any, **kwargs: Any) -> Any:
        failing = next(calls) == count
        if failing and not after:
            raise Broken
        result = original(*args, **kwargs)
        if failing:
            if isinstance(result, RemovableHandle):  # nobody would ever hold it
                result.remove()
            raise Broken
        return result

    return call


class SacredBase(RuleBasedStateMachine):
    """`injected` are the adapters that must be there, with the solo output that each gave when it came."""

    @initialize()
    def load(self) -> None:
        self.model = every_layer()
        self.before = picture(self.model)
        self.state = copy.deepcopy(self.model.state_dict())
        self.plain = self.run({})
        self.adapted = AdaptedModel(self.model, describe(self.model))
        self.injected: dict[str, Tensor] = {}
        self.untouched = {name: _marks(part) for name, part in self.model.named_modules()}

    @torch.no_grad()
    def run(self, composition: Mapping[str, float]) -> Tensor:
        if not composition:
            return self.model(IDS)
        with self.adapted.routed_whole(composition):
            return self.model(IDS)

    def config(self, raw: str) -> AdapterConfig:
        return parse_config(RAWS[raw])

    @rule(name=st.sampled_from(NAMES), raw=st.sampled_from(sorted(RAWS)), seed=st.integers(0, 9))
    def inject_or_replace(self, name: str, raw: str, seed: int) -> None:
        if name in self.injected:
            self.adapted.eject_adapter(name)
        self.adapted.inject_adapter(name, self.config(raw), seed=seed)
        self.injected[name] = self.run({name: 1.0})

    @precondition(lambda self: self.injected)
    @rule(data=st.data(), raw=st.sampled_from(sorted(RAWS)), seed=st.integers(0, 9))
    def swap_in_place(self, data: st.DataObject, raw: str, seed: int) -> None:
        """As the service does: another version under the same name, with other targets perhaps."""
        name = data.draw(st.sampled_from(sorted(self.injected)))
        source = AdaptedModel(every_layer())
        checkpoint = source.inject_adapter("made", self.config(raw), seed=seed)
        self.adapted.attach_adapter(name, self.adapted.prepare_adapter(checkpoint))
        self.injected[name] = self.run({name: 1.0})

    @precondition(lambda self: self.injected)
    @rule(data=st.data())
    def eject(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.injected)))
        self.adapted.eject_adapter(name)
        del self.injected[name]

    @rule(data=st.data())
    def infer(self, data: st.DataObject) -> None:
        names = data.draw(st.lists(st.sampled_from([None, *sorted(self.injected)]), min_size=ROWS, max_size=ROWS))
        with torch.no_grad(), self.adapted.routed([{} if name is None else {name: 1.0} for name in names]):
            mixed = self.model(IDS)
        for row, name in enumerate(names):
            expected = self.plain if name is None else self.injected[name]
            assert_same(mixed[row], expected[row])

    @precondition(lambda self: self.injected)
    @rule(data=st.data())
    def compose(self, data: st.DataObject) -> None:
        weights = data.draw(st.dictionaries(st.sampled_from(sorted(self.injected)), st.floats(-1, 1), max_size=3))
        try:
            self.run(weights)
        except Invalid as refusal:
            if "don't mix" not in str(refusal):
                raise

    @precondition(lambda self: self.injected)
    @rule(data=st.data())
    def fail_in_a_forward(self, data: st.DataObject) -> None:
        """A batch that doesn't have the rows it is said to have, and ids that don't exist."""
        name = data.draw(st.sampled_from(sorted(self.injected)))
        with pytest.raises(Invalid), self.adapted.routed([{name: 1.0}] * (ROWS + 1)):
            self.model(IDS)
        with pytest.raises(IndexError), self.adapted.routed([{name: 1.0}] * ROWS):
            self.model(IDS + 9)

    @rule(wrong=st.sampled_from(sorted(WRONG)))
    def refuse_a_config(self, wrong: str) -> None:
        with pytest.raises(Invalid):
            self.adapted.inject_adapter("refused", parse_config(WRONG[wrong]))

    @rule(raw=st.sampled_from(sorted(RAWS)), data=st.data())
    def refuse_tensors(self, raw: str, data: st.DataObject) -> None:
        config = self.config(raw)
        tensors = dict(AdaptedModel(every_layer()).inject_adapter("made", config, seed=0).tensors)
        key = data.draw(st.sampled_from(sorted(tensors)))
        match data.draw(st.sampled_from(("missing", "misplaced", "misshapen", "not a number"))):
            case "missing":
                del tensors[key]
            case "misplaced":
                tensors["absent.lora_A.weight"] = tensors[key]
            case "misshapen":
                tensors[key] = torch.zeros(3, 3, 3, 3, 3)
            case _:
                tensors[key] = torch.full_like(tensors[key].double(), torch.nan)
                if not tensors[key].numel() or "num_batches" in key:
                    return
        with pytest.raises(Invalid):
            match_checkpoint(config, tensors, self.adapted.architecture)
        with pytest.raises(Invalid):
            self.adapted.inject_adapter("refused", config, tensors)

    @rule(
        raw=st.sampled_from(sorted(RAWS)),
        where=st.sampled_from(INSTALLING),
        count=st.integers(0, 6),
        after=st.booleans(),
        name=st.sampled_from(NAMES),
    )
    def fail_midway(self, raw: str, where: tuple[type, str], count: int, after: bool, name: str) -> None:
        """Something breaks while the adapter goes in; or it breaks too late and the adapter is there."""
        owner, method = where
        checkpoint = AdaptedModel(every_layer()).inject_adapter("made", self.config(raw), seed=1)
        prepared = self.adapted.prepare_adapter(checkpoint)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, method, failing_at(getattr(owner, method), count, after=after))
            try:
                self.adapted.attach_adapter(name, prepared)
            except Broken:
                return
        self.injected[name] = self.run({name: 1.0})

    @rule()
    def ask_for_an_unknown_one(self) -> None:
        for ask in (self.adapted.eject_adapter, self.adapted.adapter_state_dict):
            with pytest.raises(NotFound):
                ask("absent")

    @invariant()
    def the_base_is_what_it_was(self) -> None:
        assert torch.equal(self.run({}), self.plain)
        assert same(dict(self.model.state_dict()), dict(self.state))
        assert set(self.adapted.adapters) == set(self.injected)
        for name, solo in self.injected.items():
            assert torch.equal(self.run({name: 1.0}), solo)
        parts = dict(self.model.named_modules())
        adapted = {name.removesuffix(".adapters") for name in parts if name.endswith(".adapters")}
        assert parts.keys() == self.untouched.keys() | {f"{name}.adapters" for name in adapted}
        assert all(_marks(parts[name]) == marks for name, marks in self.untouched.items() if name not in adapted)
        assert all(_marks(parts[name])[:3] == self.untouched[name][:3] for name in adapted)

    @invariant()
    def without_adapters_nothing_is_left(self) -> None:
        if not self.injected:
            assert same(picture(self.model), self.before)

    def teardown(self) -> None:
        for name in self.injected:
            self.adapted.eject_adapter(name)
        assert same(picture(self.model), self.before)


def _marks(part: nn.Module) -> tuple[Any, ...]:
    """The object, its class, what it is set to; its children; its hooks."""
    own = {name: (id(p), p.requires_grad, p.grad) for name, p in part.named_parameters(recurse=False)}
    own |= {name: (id(b), b.requires_grad, b.grad) for name, b in part.named_buffers(recurse=False)}
    tables = {name: list(value) for name, value in vars(part).items() if isinstance(value, dict)}
    return id(part), (type(part), part.training), own, [name for name, _ in part.named_children()], tables


def walk(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        SacredBase,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        ),
    )


def test_three_hundred_random_steps_leave_the_base_as_it_was() -> None:
    walk(examples=10, steps=30)


@pytest.mark.deep
def test_ten_thousand_random_steps_leave_the_base_as_it_was() -> None:
    walk(examples=200, steps=50)
