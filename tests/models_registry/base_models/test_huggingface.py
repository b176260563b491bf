import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_tokenizers import byte_level
from tolerance import assert_same_in_float32
from torch import Tensor, nn
from transformers import BertForSequenceClassification, BertModel, LlamaConfig, LlamaForCausalLM
from word_models import save

from models_registry.base_models.huggingface import HuggingFaceSpec
from models_registry.errors import Invalid, Unsupported
from models_registry.inputs.values import Inputs, OutputValue

CPU = torch.device("cpu")
Open = Callable[..., HuggingFaceSpec]


def built(spec: HuggingFaceSpec, dtype: torch.dtype | None = None) -> tuple[HuggingFaceSpec, nn.Module]:
    return spec, spec.build(CPU, dtype)


@torch.inference_mode()
def answer(spec: HuggingFaceSpec, module: nn.Module, inputs: Inputs) -> Mapping[str, OutputValue]:
    return spec.forward(module, spec.read(module, inputs))


def tensor(outputs: Mapping[str, OutputValue], name: str) -> Tensor:
    value = outputs[name]
    assert isinstance(value, Tensor)
    return value


def refused(spec: HuggingFaceSpec, module: nn.Module, inputs: Inputs) -> list[tuple[str | int, ...]]:
    with pytest.raises(Invalid) as caught:
        spec.read(module, inputs)
    return [fault.loc for fault in caught.value.faults]


def change_config(directory: Path, **changes: Any) -> None:
    file = directory / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_the_architecture_says_the_class_and_the_task(opened: Open, llama: Path, bert: Path, classifier: Path) -> None:
    for path, task, cls in (
        (llama, "text-generation", LlamaForCausalLM),
        (bert, "feature-extraction", BertModel),
        (classifier, "text-classification", BertForSequenceClassification),
    ):
        spec, module = built(opened(path))
        assert (spec.task, type(module)) == (task, cls)


def test_a_task_picks_another_class_of_the_same_weights(opened: Open, classifier: Path) -> None:
    spec, module = built(opened(classifier, task="feature-extraction"))
    assert (spec.task, type(module)) == ("feature-extraction", BertModel)


def test_the_module_is_frozen_and_in_eval_mode(opened: Open, llama: Path) -> None:
    _, module = built(opened(llama))
    assert not module.training
    assert not any(p.requires_grad for p in module.parameters())


def test_the_dtype_is_the_sources_own_unless_asked_for(opened: Open, llama: Path) -> None:
    assert built(opened(llama))[1].get_parameter("lm_head.weight").dtype is torch.float32
    assert built(opened(llama), torch.bfloat16)[1].get_parameter("lm_head.weight").dtype is torch.bfloat16


def test_a_head_that_adapters_do_not_bring_is_refused_by_its_keys(opened: Open, bert: Path) -> None:
    with pytest.raises(Invalid, match=r"cls\.predictions"):
        opened(bert, task="fill-mask").build(CPU, None)


def test_a_missing_pooler_gives_no_pooled_output_rather_than_a_random_one(opened: Open, bert: Path) -> None:
    weights = load_file(bert / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if not name.startswith("pooler.")}
    save_file(kept, bert / "model.safetensors", metadata={"format": "pt"})
    outputs = answer(*built(opened(bert)), Inputs(texts=("a b",)))
    assert set(outputs) == {"last_hidden_state", "embedding", "token_count"}


def test_the_directorys_own_code_never_runs(opened: Open, llama: Path) -> None:
    (llama / "modeling.py").write_text("raise SystemExit('this code was run')")
    change_config(llama, model_type="mine", auto_map={"AutoConfig": "modeling.Config", "AutoModel": "modeling.Model"})
    with pytest.raises(Invalid, match=r"config\.json"):
        opened(llama)


def test_quantised_weights_are_refused(opened: Open, llama: Path) -> None:
    change_config(llama, quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True})
    with pytest.raises(Unsupported, match="quantised"):
        opened(llama)


def test_weights_that_do_not_have_the_configs_shapes_are_refused(opened: Open, llama: Path) -> None:
    change_config(llama, intermediate_size=64)
    with pytest.raises(Invalid, match="llama"):
        opened(llama).build(CPU, None)


def test_weights_that_are_cut_off_are_refused(opened: Open, llama: Path) -> None:
    weights = llama / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(Invalid, match="llama"):
        opened(llama).build(CPU, None)


def test_tensors_give_what_the_model_itself_gives_and_no_cache(opened: Open, llama: Path) -> None:
    spec, module = built(opened(llama))
    ids = torch.tensor([[3, 4, 5], [6, 7, 8]])
    outputs = answer(spec, module, Inputs({"input_ids": ids.int()}))
    assert set(outputs) == {"logits"}
    assert_same_in_float32(tensor(outputs, "logits"), LlamaForCausalLM.from_pretrained(llama)(ids).logits)


@pytest.mark.parametrize(
    ("tensors", "loc"),
    [
        ({"input_ids": [[3, 4], [5, 99]]}, ("inputs", "input_ids", 1)),
        ({"input_ids": [[-1, 4]]}, ("inputs", "input_ids", 0)),
        ({"input_ids": [[3.0, 4.0]]}, ("inputs", "input_ids")),
        ({"input_ids": [3, 4]}, ("inputs", "input_ids")),
        ({"input_ids": [[3] * 17]}, ("inputs", "input_ids")),
        ({"input_ids": [[3]], "token_type_ids": [[2]]}, ("inputs", "token_type_ids", 0)),
        ({"input_ids": [[3]], "position_ids": [[16]]}, ("inputs", "position_ids", 0)),
        ({"input_ids": [[3, 4]], "attention_mask": [[1]]}, ("inputs", "attention_mask")),
        ({"input_ids": [[3]], "labels": [1]}, ("inputs", "labels")),
        ({"input_ids": [[3]], "pixel_values": [[1.0]]}, ("inputs", "pixel_values")),
        ({"attention_mask": [[1]]}, ("inputs", "input_ids")),
    ],
)
def test_tensors_that_the_model_cannot_take_are_refused(
    opened: Open, classifier: Path, tensors: dict[str, Any], loc: tuple[str | int, ...]
) -> None:
    spec, module = built(opened(classifier))
    given = {name: torch.tensor(values) for name, values in tensors.items()}
    assert refused(spec, module, Inputs(given)) == [loc]


def test_rows_without_tokens_are_refused(opened: Open, classifier: Path) -> None:
    spec, module = built(opened(classifier))
    assert refused(spec, module, Inputs({"input_ids": torch.empty(2, 0).long()})) == [("inputs", "input_ids")]


def test_every_row_with_a_wrong_token_is_listed(opened: Open, classifier: Path) -> None:
    spec, module = built(opened(classifier))
    ids = torch.tensor([[99], [3], [-5]])
    assert [loc[-1] for loc in refused(spec, module, Inputs({"input_ids": ids}))] == [0, 2]


def test_a_padded_text_gives_what_it_gives_alone(opened: Open, bert: Path) -> None:
    spec, module = built(opened(bert))
    together = tensor(answer(spec, module, Inputs(texts=("a", "b c d e f"))), "embedding")
    alone = tensor(answer(spec, module, Inputs(texts=("a",))), "embedding")
    assert_same_in_float32(together[:1], alone)
    assert not torch.allclose(together[0], together[1])


def test_texts_that_do_not_fit_are_refused_by_their_rows(opened: Open, bert: Path) -> None:
    spec, module = built(opened(bert))
    locs = refused(spec, module, Inputs(texts=("a b", "", "a " * 16, "a " * 17)))
    assert locs == [("inputs", "text", 1), ("inputs", "text", 3)]


def test_texts_need_a_tokenizer(opened: Open, bert: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (bert / name).unlink()
    spec, module = built(opened(bert))
    assert refused(spec, module, Inputs(texts=("a",))) == [("inputs", "text")]
    assert answer(spec, module, Inputs({"input_ids": torch.tensor([[3]])}))


def test_a_classified_text_has_its_label_and_score(opened: Open, classifier: Path) -> None:
    outputs = answer(*built(opened(classifier)), Inputs(texts=("a b", "q", "x y z")))
    best = tensor(outputs, "logits").softmax(-1).max(-1)
    assert outputs["label"] == tuple(("sad", "glad", "calm")[i] for i in best.indices.tolist())
    assert_same_in_float32(tensor(outputs, "score"), best.values)


def test_labels_that_may_hold_together_are_scored_by_a_sigmoid(opened: Open, classifier: Path) -> None:
    change_config(classifier, problem_type="multi_label_classification")
    outputs = answer(*built(opened(classifier)), Inputs(texts=("a b",)))
    assert_same_in_float32(tensor(outputs, "score"), tensor(outputs, "logits").sigmoid().amax(-1))


def test_an_example_fits_a_model_that_takes_few_bytes(tmp_path: Path) -> None:
    tokenizer = byte_level()
    tokenizer.model_max_length = 32
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    spec = HuggingFaceSpec(save(LlamaForCausalLM(config), tokenizer, tmp_path / "bytes"), None, None)
    example = spec.example(spec.build(torch.device("cpu"), None))
    assert example is not None
    assert example.tensors["input_ids"].shape[1] <= 32
