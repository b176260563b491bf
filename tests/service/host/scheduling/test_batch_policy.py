"""Whoever shares a forward gets what he would have got alone: values, shapes, versions."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from engines import tensor, version_of
from tolerance import assert_same_in_float32
from torch import Tensor
from transformers import BertModel, PreTrainedModel
from word_models import bert_config, save, tiny_llama, word_tokenizer

from models_registry.adapters.catalog import parse_config
from models_registry.architecture import describe
from models_registry.base_models.opening import open_spec
from models_registry.base_models.sources import SourcePolicy
from models_registry.base_models.spec import BaseModelSpec
from models_registry.errors import Invalid
from models_registry.injection.adapted_model import AdaptedModel
from models_registry.inputs.values import Inputs, OutputValue
from models_registry.records import HuggingFaceSource
from service.host.execution.model_runner import Outputs, answer_jobs
from service.host.generation.answer import TextAnswer
from service.host.generation.fallback import Fallback
from service.host.scheduling.batch_policy import BatchPolicy
from service.host.scheduling.job import Job
from service.protocol.types import BASE, InferCall, Part, Selection

CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "lora": {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "init_lora_weights": False},
    "dora": {"peft_type": "LORA", "r": 2, "use_dora": True, "init_lora_weights": False},
    "ada": {"peft_type": "ADALORA", "init_r": 2, "total_step": 100},
    "ia3": {"peft_type": "IA3"},
}
TARGETS = {"bert": ["query", "value", "dense"], "llama": ["q_proj", "v_proj", "down_proj"]}
FEEDFORWARD = {"bert": ["dense"], "llama": ["down_proj"]}


@dataclass(frozen=True)
class Host:
    spec: BaseModelSpec
    adapted: AdaptedModel
    policy: BatchPolicy

    def job(
        self,
        inputs: Inputs,
        *adapters: str | Mapping[str, float] | None,
        outputs: tuple[str, ...] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Job:
        selections = tuple(map(selection, adapters)) or (BASE,)
        rows = self.spec.read(self.adapted.module, inputs) if parameters is None else None
        request = InferCall(inputs, outputs=outputs, parameters=parameters)
        key = self.policy.batch_key(request, selections, rows)
        prompts = () if parameters is None else self.spec.prompts(inputs, parameters)
        return Job(request, selections, rows, Future(), 0.0, key, prompts=prompts)

    def answer(self, jobs: Sequence[Job]) -> tuple[Outputs, ...]:
        return answer_jobs(self.spec, self.adapted, jobs, self.policy.proof.by_token or ())

    def check(self, jobs: Sequence[Job]) -> None:
        """They are of one kind, and each gets together what it gets alone."""
        kinds = [job.batch_key for job in jobs]
        assert None not in kinds
        assert len({kind.common for kind in kinds if kind}) == 1
        for together, job in zip(self.answer(jobs), jobs, strict=True):
            (alone,) = self.answer([job])
            assert together.selections == alone.selections
            assert together.values.keys() == alone.values.keys()
            for name, value in alone.values.items():
                assert_same(together.values[name], value)


def assert_same(one: OutputValue, other: OutputValue) -> None:
    if isinstance(other, Tensor):
        assert_same_in_float32(tensor(one), other)
    else:
        assert one == other


def selection(choice: str | Mapping[str, float] | None) -> Selection:
    weights = {choice: 1.0} if isinstance(choice, str) else choice or {}
    return Selection(tuple(Part(version_of(name), name, weight) for name, weight in weights.items()))


def host(model: PreTrainedModel, directory: Path) -> Host:
    kind = model.config.model_type
    save(model, word_tokenizer(), directory / kind)
    spec = open_spec(HuggingFaceSource(str(directory / kind)), None, SourcePolicy((directory,), ()))
    module = spec.build(torch.device("cpu"), torch.float32)
    adapted = AdaptedModel(module, describe(module))
    for seed, (name, config) in enumerate(CONFIGS.items()):
        targeted = {**config, "target_modules": TARGETS[kind]}
        extra = {"feedforward_modules": FEEDFORWARD[kind]} if name == "ia3" else {}
        checkpoint = adapted.inject_adapter(name, parse_config({**targeted, **extra}), seed=seed)
        generator = torch.Generator().manual_seed(seed)
        changed = {k: t + 0.3 * torch.randn(t.shape, generator=generator) for k, t in checkpoint.tensors.items()}
        adapted.load_adapter_state_dict(name, changed)
    policy = BatchPolicy(spec, adapted)
    policy.learn(spec.example(module))
    return Host(spec, adapted, policy)


@pytest.fixture
def bert(tmp_path: Path) -> Host:
    return host(BertModel(bert_config()), tmp_path)


@pytest.fixture
def llama(tmp_path: Path) -> Host:
    return host(tiny_llama(), tmp_path)


def texts(*words: str) -> Inputs:
    return Inputs(texts=words)


def ids(*rows: Sequence[int], mask: Sequence[Sequence[int]] | None = None) -> Inputs:
    tensors = {"input_ids": torch.tensor(rows)}
    return Inputs(tensors if mask is None else {**tensors, "attention_mask": torch.tensor(mask)})


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_texts_of_any_length_size_and_method_get_together_what_they_get_alone(
    request: pytest.FixtureRequest, name: str
) -> None:
    one: Host = request.getfixturevalue(name)
    one.check(
        [
            one.job(texts("a b c d e f g h")),
            one.job(texts("a"), "lora"),
            one.job(texts("x y z", "q", "a b c d e"), "ia3", None, "lora"),
            one.job(texts("c b a", "b b b b b b"), "dora"),
            one.job(texts("k l m n"), {"lora": 0.5, "ada": -2.0}),
            one.job(texts("a"), "lora"),
            one.job(texts("g g", "h"), "ada", "ia3"),
        ]
    )


def test_token_ids_with_a_mask_and_without_get_together_what_they_get_alone(llama: Host) -> None:
    llama.check(
        [
            llama.job(ids([3, 4, 5], [6, 7, 8]), "lora"),
            llama.job(ids([9, 10, 11, 12, 13]), "ia3"),
            llama.job(ids([3, 4, 5, 6], mask=[[1, 1, 1, 0]])),
            llama.job(ids([2]), "ada"),
        ]
    )


def test_rows_of_one_length_need_no_mask(llama: Host) -> None:
    jobs = [llama.job(ids([3, 4, 5]), "lora"), llama.job(ids([5, 4, 3]))]
    llama.check(jobs)


def test_callers_may_want_different_outputs(bert: Host) -> None:
    jobs = [
        bert.job(texts("a b c"), "lora", outputs=("embedding",)),
        bert.job(texts("a"), outputs=("pooler_output", "last_hidden_state")),
        bert.job(texts("b c"), "ia3"),
    ]
    bert.check(jobs)
    bert.check(jobs[:2])


def test_what_could_differ_for_company_runs_alone(llama: Host) -> None:
    text = texts("a b")
    assert llama.job(ids([3, 4, 5], mask=[[0, 1, 1]])).batch_key != llama.job(ids([3, 4, 5, 6])).batch_key
    assert llama.job(text, outputs=("nowhere",)).batch_key is None
    unprobed = AdaptedModel(llama.adapted.module, llama.adapted.architecture)
    assert BatchPolicy(llama.spec, unprobed).batch_key(InferCall(text), (BASE,), llama.job(text).rows) is None
    llama.adapted.inactive.add("lora")
    assert llama.job(text, {"ada": 1.0, "lora": 1.0}).batch_key is None
    assert llama.job(text, "ada").batch_key is not None


@pytest.mark.parametrize("more", [{}, {"repetition_penalty": 1.5, "frequency_penalty": 1.0, "no_repeat_ngram_size": 2}])
def test_texts_are_continued_together_as_they_are_alone(llama: Host, more: Mapping[str, Any]) -> None:
    parameters = {"max_new_tokens": 6, **more}

    def asked() -> list[Job]:
        return [
            llama.job(texts("a b c d e f"), "lora", parameters=parameters),
            llama.job(texts("x", "y z"), parameters=parameters),
            llama.job(texts("q r s", "a"), "ia3", "dora", parameters=parameters),
            llama.job(texts("m n"), "ada", parameters=parameters),
        ]

    alone = [_continued(llama, [job])[0] for job in asked()]
    assert len({job.batch_key for job in asked()}) == 1
    assert _continued(llama, asked()) == alone


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"max_new_tokens": 4, "do_sample": True, "seed": 1},
        {"max_new_tokens": 4, "stop_token_ids": [5]},
        {"max_new_tokens": 4, "stop_strings": ["a"]},
    ],
)
def test_a_continuation_that_minds_company_is_made_alone(llama: Host, parameters: Mapping[str, Any]) -> None:
    assert llama.job(texts("a"), parameters=parameters).batch_key is None


def _continued(llama: Host, jobs: Sequence[Job]) -> list[OutputValue]:
    writer = llama.spec.writer(llama.adapted.module)
    assert writer is not None
    fallback = Fallback("m", llama.spec, writer, llama.adapted, lambda _: None)
    fallback.begin([TextAnswer(job, 0.0, 0.0) for job in jobs])
    while fallback.jobs:
        fallback.step()
    return [job.future.result().outputs["text"] for job in jobs]


def test_continuations_of_different_lengths_are_different_kinds(llama: Host) -> None:
    kinds = {llama.job(texts("a"), parameters={"max_new_tokens": n}).batch_key for n in (3, 4)}
    assert len(kinds) == 2


def test_wrong_parameters_are_refused_before_they_are_queued(llama: Host) -> None:
    with pytest.raises(Invalid, match="parameters are wrong"):
        llama.job(texts("a"), parameters={"max_new_tokens": 0})
