"""The playground and comparisons: what several adapters make of the same input, on a page."""

import csv
import io
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest
import torch
from apps import create, expect, host, places, settings_in, two_versions
from consoles import get, post
from starlette.testclient import TestClient
from transformers import BertForSequenceClassification, BertModel
from word_models import bert_config, save, tiny_llama, word_tokenizer

from service.bootstrap import create_app

ATTENTION: dict[str, Any] = {"peft_type": "LORA", "r": 2, "init_lora_weights": False, "target_modules": ["query"]}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    directory = tmp_path_factory.mktemp("trying")
    save(tiny_llama(), word_tokenizer(), directory / "models" / "writer")
    save(BertModel(bert_config()), word_tokenizer(), directory / "models" / "encoder")
    save(BertForSequenceClassification(bert_config()), word_tokenizer(), directory / "models" / "classifier")
    with TestClient(create_app(settings_in(directory))) as client:
        for name in ("writer", "encoder", "classifier"):
            source = {"kind": "huggingface", "path": name}
            expect(client.post("/models", params={"wait": 60}, json={"id": name, "source": source}), 201)
        host(client, "mlp", "bases:mlp")
        two_versions(client, "tone")
        create(client, "parrot", {**ATTENTION, "target_modules": ["q_proj", "v_proj"]}, "writer")
        create(client, "angle", ATTENTION, "encoder")
        create(client, "mood", ATTENTION, "classifier")
        yield client


def infer(client: TestClient, model: str, **body: Any) -> dict[str, Any]:
    return expect(client.post(f"/models/{model}/infer", json=body), 200)


def test_the_playground_offers_models_and_their_adapters(client: TestClient) -> None:
    page = get(client, "/playground?model=mlp&adapters=tone,tone@1")
    assert 'value="tone" checked' in page
    assert 'id="others" class="long" value="tone@1"' in page
    assert "parrot" not in page
    assert "max_new_tokens" in get(client, "/playground?model=writer")


def test_a_list_of_adapters_that_is_cut_says_so(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "These were used last; write the names of others below."
    assert said not in get(client, "/playground?model=encoder")
    create(client, "second", ATTENTION, "encoder")
    monkeypatch.setattr("service.console.choices.MOST_ADAPTERS", 1)
    assert said in get(client, "/playground?model=encoder")
    expect(client.delete("/adapters/second"), 204)


def test_a_written_text_comes_as_events_of_every_adapter(client: TestClient) -> None:
    answer = post(client, "/models/writer/try", input="a b", adapter="parrot", max_new_tokens="4")
    assert answer.headers["content-type"].startswith("text/event-stream")
    rows = [json.loads(data) for data in re.findall(r"event: row\ndata: (.*)", answer.text)]
    direct = infer(
        client, "writer", inputs={"text": ["a b"] * 2}, adapter=[None, "parrot"], parameters={"max_new_tokens": 4}
    )
    assert {row["row"]: row["text"] for row in rows} == dict(enumerate(direct["outputs"]["text"]))
    assert {row["row"]: row["digest"] for row in rows} == dict(enumerate(direct["digest"]))


def test_a_classifiers_answers_are_labels_and_bars(client: TestClient) -> None:
    page = post(client, "/models/classifier/try", input="a b", adapter="mood").text
    direct = infer(client, "classifier", inputs={"text": ["a b"] * 2}, adapter=[None, "mood"])
    for label, score in zip(direct["outputs"]["label"], direct["outputs"]["score"]["data"], strict=True):
        assert f'<strong class="answer">{label}</strong>' in page
        assert f"{score:.4g}" in page
    assert len(re.findall("<meter", page)) == 6
    assert direct["digest"][1] in page


def test_embeddings_stand_in_a_matrix_of_cosines(client: TestClient) -> None:
    page = post(client, "/models/encoder/try", input="a b c", adapter="angle").text
    direct = infer(client, "encoder", inputs={"text": ["a b c"] * 2}, adapter=[None, "angle"])["outputs"]["embedding"]
    base, own = torch.tensor(direct["data"], dtype=torch.float64).reshape(direct["shape"])
    expected = torch.nn.functional.cosine_similarity(base, own, dim=0).item()
    found = [float(value) for value in re.findall(r'<td class="shade\d">([-.\d]+)</td>', page)]
    assert found == pytest.approx([1, expected, expected, 1], abs=1e-4)


def test_tensors_are_taken_as_json(client: TestClient) -> None:
    row = {"x": [[1.0, 2.0, 3.0, 4.0]]}
    page = post(client, "/models/mlp/try", input=json.dumps(row), kind="tensors", adapter="tone@1").text
    direct = infer(client, "mlp", inputs={"x": row["x"] * 2}, adapter=[None, "tone@1"])["outputs"]["output"]["data"]
    assert all(f"{number:.4g}" in page for number in direct)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"input": ""}, 422),
        ({"input": "a", "adapter": "none"}, 404),
        ({"input": "[1]", "kind": "tensors"}, 422),
        ({"input": '{"x": [[1], [2]]}', "kind": "tensors"}, 422),
        ({"input": "{", "kind": "tensors"}, 400),
        ({"input": "a", "max_new_tokens": "4096"}, 422),
        ({"input": "a", "adapter": [f"a{n}" for n in range(13)]}, 422),
    ],
)
def test_what_can_not_be_tried_is_said(client: TestClient, fields: dict[str, Any], status: int) -> None:
    assert post(client, "/models/writer/try", **fields).status_code == status


def rows_of(page: str) -> list[list[str]]:
    """Of the table that is downloaded."""
    (link,) = re.findall(r'href="data:text/csv;charset=utf-8,([^"]*)"', page)
    return list(csv.reader(io.StringIO(unquote(link))))


def test_versions_are_compared_on_every_line(client: TestClient) -> None:
    fields = {"inputs": "a b\n\n c \nd", "before": "", "after": "parrot", "max_new_tokens": "3"}
    page = post(client, "/models/writer/compare", **fields).text
    texts = ["a b", "c", "d"]
    base, own = (
        infer(client, "writer", inputs={"text": texts}, adapter=adapter, parameters={"max_new_tokens": 3})
        for adapter in (None, "parrot")
    )
    before, after = base["outputs"]["text"], own["outputs"]["text"]
    expected = [
        [text, one, other, "yes" if one == other else "no", ""]
        for text, one, other in zip(texts, before, after, strict=True)
    ]
    assert [[*map(str.strip, row)] for row in rows_of(page)[1:]] == [[*map(str.strip, row)] for row in expected]
    equal = sum(row[3] == "yes" for row in expected)
    assert f"{equal} equal, {3 - equal} different" in page
    assert "/console/adapters/parrot/move?alias=prod&amp;version=1" in page


def test_a_version_equals_itself(client: TestClient) -> None:
    for model, adapter in [("encoder", "angle"), ("classifier", "mood")]:
        page = post(client, f"/models/{model}/compare", inputs="a\nb", before=adapter, after=f"{adapter}@1").text
        assert "2 equal, 0 different" in page


def test_a_comparison_without_inputs_says_so(client: TestClient) -> None:
    answer = client.post(
        "/console/models/writer/compare",
        data={"csrf": re.findall('csrf" content="([^"]+)', get(client, ""))[0], "inputs": " \n ", "after": "parrot"},
    )
    assert places(expect(answer, 422)) == ["inputs"]


def test_a_downloaded_table_computes_nothing(client: TestClient) -> None:
    page = post(client, "/models/encoder/compare", inputs="=1+1", before="", after="angle").text
    assert rows_of(page)[1][0] == "'=1+1"


def test_a_page_leads_from_an_adapter_to_trying_it(client: TestClient) -> None:
    assert "/console/playground?model=mlp&amp;adapters=tone%402" in get(client, "/adapters/tone")
