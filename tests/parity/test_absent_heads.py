"""A language model that is hosted to classify: its head comes with each adapter, as PEFT saves and loads it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from apps import as_form, expect, expect_problem, places, settings_in
from starlette.testclient import TestClient
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification
from word_models import save, tiny_llama, word_tokenizer

from service.bootstrap import create_app

IDS = [[5, 6, 7], [8, 9, 3]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("headless")


@pytest.fixture(scope="module")
def client(root: Path) -> Iterator[TestClient]:
    save(tiny_llama(), word_tokenizer(), root / "models" / "llama")
    with TestClient(create_app(settings_in(root))) as client:
        yield client


def host(client: TestClient, id: str, status: int = 201, **wishes: Any) -> dict[str, Any]:
    body = {"id": id, "source": {"kind": "huggingface", "path": "llama"}, "task": "text-classification", **wishes}
    response = client.post("/models", params={"wait": 60}, json=body)
    return expect(response, status) if status < 400 else expect_problem(response, status, "invalid")


def trained(root: Path, labels: int, seed: int, **config: Any) -> tuple[nn.Module, dict[str, Any]]:
    """PEFT's model, every trained tensor random, and the form that uploads it."""
    base = AutoModelForSequenceClassification.from_pretrained(root / "models" / "llama", num_labels=labels)
    base.config.pad_token_id = 0
    model = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], **config)).eval()
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    directory = root / f"adapter-{labels}-{seed}"
    model.save_pretrained(str(directory))
    files = [(directory / name).read_bytes() for name in ("adapter_config.json", "adapter_model.safetensors")]
    return model, as_form(files[0], files[1])


def upload(client: TestClient, model: str, name: str, form: dict[str, Any]) -> Any:
    return client.post(f"/models/{model}/adapters", files=form["files"], data={"name": name})


def logits(client: TestClient, model: str, adapter: Any) -> Tensor:
    answer = expect(client.post(f"/models/{model}/infer", json={"adapter": adapter, "inputs": {"input_ids": IDS}}), 200)
    value = answer["outputs"]["logits"]
    return torch.tensor(value["data"]).view(value["shape"])


def oracle(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor(IDS)).logits


def test_each_row_is_classified_by_its_own_adapters_head(client: TestClient, root: Path) -> None:
    host(client, "two", num_labels=2)
    models = {}
    for seed, name in enumerate(("first", "second")):
        models[name], form = trained(root, 2, seed, task_type="SEQ_CLS")
        expect(upload(client, "two", name, form), 201)
    mixed = logits(client, "two", ["first", "second"])
    expected = torch.stack([oracle(models["first"])[0], oracle(models["second"])[1]])
    torch.testing.assert_close(mixed, expected, atol=1e-5, rtol=1e-5)


def test_base_rows_have_no_head_to_answer_with(client: TestClient, root: Path) -> None:
    host(client, "rows", num_labels=2)
    _, form = trained(root, 2, 5, task_type="SEQ_CLS")
    expect(upload(client, "rows", "own", form), 201)
    body = {"adapter": ["own", None], "inputs": {"input_ids": IDS}}
    problem = expect_problem(client.post("/models/rows/infer", json=body), 422, "invalid")
    assert places(problem) == ["adapter.1"]
    assert "score" in problem["errors"][0]["message"]


def test_an_adapter_without_a_head_is_refused(client: TestClient, root: Path) -> None:
    host(client, "bare", num_labels=2)
    _, form = trained(root, 2, 6)
    problem = expect_problem(upload(client, "bare", "bare", form), 422, "invalid")
    assert places(problem) == ["config.modules_to_save"]
    assert "score.weight" in problem["errors"][0]["message"]


def test_the_first_adapter_says_how_many_classes_there_are(client: TestClient, root: Path) -> None:
    host(client, "open")
    config = {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"], "task_type": "SEQ_CLS"}
    fresh = client.post("/models/open/adapters", json={"name": "fresh", "config": config})
    assert "num_labels" in expect_problem(fresh, 422, "invalid")["errors"][0]["message"]
    model, form = trained(root, 3, 7, task_type="SEQ_CLS")
    expect(upload(client, "open", "three", form), 201)
    torch.testing.assert_close(logits(client, "open", "three"), oracle(model), atol=1e-5, rtol=1e-5)
    _, other = trained(root, 4, 8, task_type="SEQ_CLS")
    assert places(expect_problem(upload(client, "open", "four", other), 422, "invalid")) == ["weights.score.weight"]


def test_the_fingerprint_does_not_depend_on_the_head_that_is_made_up(client: TestClient) -> None:
    fingerprints = {host(client, f"f{labels}", num_labels=labels)["fingerprint"] for labels in (2, 5)}
    assert len(fingerprints) == 1


def test_a_fresh_adapter_starts_with_the_head_that_it_asks_for(client: TestClient) -> None:
    host(client, "new", num_labels=5)
    config = {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"], "task_type": "SEQ_CLS"}
    expect(client.post("/models/new/adapters", json={"name": "started", "config": config, "seed": 1}), 201)
    assert logits(client, "new", "started").shape == (2, 5)


def test_a_number_of_labels_is_for_classifiers_from_files(client: TestClient) -> None:
    assert places(host(client, "text", 422, task="text-generation", num_labels=2)) == ["num_labels"]
    source = {"kind": "python", "factory": "bases:mlp"}
    assert places(host(client, "factory", 422, task=None, source=source, num_labels=2)) == ["num_labels"]


def test_a_head_on_a_language_model_names_the_task_that_takes_it(client: TestClient, root: Path) -> None:
    host(client, "causal", task=None)
    _, form = trained(root, 2, 9, task_type="SEQ_CLS")
    problem = expect_problem(upload(client, "causal", "classifier", form), 422, "invalid")
    assert "text-classification" in problem["errors"][0]["message"]
