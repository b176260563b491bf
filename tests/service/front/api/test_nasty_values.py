"""No request is answered with a failure of ours, whatever stands in it, and the next caller is answered as before."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from apps import RANDOM_LORA, ROWS, create, expect, host, settings_in
from databases import Postgres
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nasty import encoded, forms, header_values, mutations, queries, safetensors_files, texts, words
from openapi_file import committed_document
from starlette.testclient import TestClient
from word_models import save, tiny_llama, word_tokenizer

from service.bootstrap import create_app
from service.settings import Settings

EXPECTED = {503, 504, 507}
"""Of the statuses from 500 on: a store that is away, a deadline that passed, no room."""
HEADERS = (
    *("Content-Type", "Accept", "Content-Encoding", "Content-Length", "If-Match", "If-None-Match", "If-Range", "Range"),
    *("Idempotency-Key", "X-Request-Timeout", "X-Registry-Generation", "X-Request-ID", "Cookie", "Host", "Expect"),
    *("Authorization", "X-Forwarded-For", "Accept-Encoding", "Origin"),
)
NEVER_ENDED = {"mlp", "tone", "words"}
"""What the neighbour and the bodies below name; no request may remove or unload them."""
MLP = {"kind": "python", "factory": "bases:mlp", "kwargs": {"seed": 1}}
INFER: list[Any] = [
    {"adapter": "tone", "inputs": {"x": ROWS}, "outputs": ["output"]},
    {
        "adapter": ["tone", {"tone@1": 1.0}],
        "inputs": {"x": {"dtype": "float32", "shape": [2, 4], "data": [1, 2, 3, 4] * 2}},
    },
    {
        "inputs": {"text": ["a b"]},
        "parameters": {"max_new_tokens": 1, "temperature": 0.5, "do_sample": True, "top_k": 2},
    },
    {"inputs": {"input_ids": [[1, 2]], "attention_mask": [[1, 1]]}},
]
CONFIGS: list[Any] = [
    {
        **RANDOM_LORA,
        "rank_pattern": {"first": 1},
        "alpha_pattern": {"second": 1},
        "layers_to_transform": None,
        "bias": "none",
    },
    {**RANDOM_LORA, "use_rslora": True, "use_dora": False, "modules_to_save": ["second"], "exclude_modules": ["x"]},
    {"peft_type": "IA3", "target_modules": ["first", "second"], "feedforward_modules": ["second"]},
    {"peft_type": "ADALORA", "init_r": 2, "target_r": 2, "total_step": 10, "target_modules": "first|second"},
    {"peft_type": "LORA", "r": 1, "target_modules": ["q_proj"], "layers_to_transform": [0], "layers_pattern": "layers"},
]
BODIES: dict[tuple[str, str], list[Any]] = {
    ("POST", "/models/{model_id}/infer"): INFER,
    ("POST", "/models"): [
        {
            "id": "m1",
            "source": {"kind": "huggingface", "path": "words", "file": None},
            "dtype": "float32",
            "device": "cpu",
        },
        {
            "id": "m2",
            "source": {"kind": "python", "factory": "bases:mlp", "kwargs": {"seed": 1}},
            "example_inputs": {"x": ROWS},
        },
    ],
    ("POST", "/models/{model_id}/adapters"): [
        {"name": "n1", "config": config, "seed": 1, "metadata": {"a": 1}} for config in CONFIGS
    ],
    ("POST", "/models/{model_id}/adapters/compose"): [
        {"name": "n2", "adapters": {"tone@1": 0.5, "tone": 0.5}, "method": "svd", "density": 0.5, "rank": 1, "seed": 1}
    ],
    ("PATCH", "/adapters/{name}/versions/{version}"): [{"labels": {"stage": "prod"}}],
    ("PUT", "/adapters/{name}/aliases/{alias}"): [
        {"version": 1},
        {"versions": {"1": 0.5, "2": 0.5}, "shadow": 3, "shadow_share": 0.5, "reason": "r"},
    ],
}
TENSOR = {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32]}
FILES: list[dict[str, Any]] = [
    {"x": TENSOR, "__metadata__": {"format": "pt"}},
    {"base_model.model.first.lora_A.weight": TENSOR, "first.lora_B.weight": {**TENSOR, "shape": [4, 2]}},
]


@cache
def operations() -> list[tuple[str, str, list[str]]]:
    """Every method and address of the document, with the names of its query parameters. Those that read a body come
    more than once, for there is more that they may stumble over."""
    return [
        (method.upper(), path, [given["name"] for given in operation.get("parameters", []) if given["in"] == "query"])
        for path, methods in committed_document()["paths"].items()
        for method, operation in methods.items()
        for _ in range(5 if "requestBody" in operation else 1)
    ]


@pytest.fixture(scope="module")
def hosting(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[TestClient]:
    """An app of its own that raises what it can't answer; large fresh weights are over its limit. On Postgres, which
    takes fewer texts and numbers than SQLite."""
    directory = tmp_path_factory.mktemp("nasty")
    save(tiny_llama(), word_tokenizer(), directory / "models" / "words")
    with postgres.database() as url:
        own = settings_in(directory, max_upload_bytes=200_000).model_copy(update={"database_url": url, "migrate": True})
        yield from _hosted(own)


def _hosted(own: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(own)) as client:
        host(client, "mlp", "bases:mlp")
        create(client, "tone")
        words_model = {"id": "words", "source": {"kind": "huggingface", "path": "words"}}
        expect(client.post("/models", params={"wait": 60}, json=words_model), 201)
        yield client


def one_in(times: int, rare: st.SearchStrategy[Any], usual: Any) -> st.SearchStrategy[Any]:
    return st.integers(1, times).flatmap(lambda drawn: rare if drawn == times else st.just(usual))


@st.composite
def bodies(draw: st.DrawFn, method: str, path: str) -> tuple[str | None, bytes]:
    """A content type and a body such as the route reads, or another route's."""
    templates = BODIES.get((method, path)) or draw(st.sampled_from([*BODIES.values()]))
    form = path.endswith(("/adapters", "/versions"))
    tensors = path.endswith(("/infer", "/state"))
    kinds = ["json"] * (1 if form or tensors else 9) + ["form"] * (2 * form) + ["tensors"] * (1 + tensors)
    match draw(st.sampled_from(kinds)):
        case "json":
            template = draw(st.sampled_from(templates))
            return "application/json", draw(texts(draw(mutations(template))))
        case "form":
            config = draw(st.sampled_from(CONFIGS).flatmap(mutations).flatmap(texts))
            weights = draw(st.sampled_from(FILES).flatmap(lambda header: safetensors_files(header, bytes(64))))
            more = draw(st.dictionaries(st.sampled_from(["metadata", "accept_unknown", "dry_run"]), words, max_size=2))
            parts = {"name": b"n3", "config": config, "weights": weights}
            return draw(forms({**parts, **{key: word.encode("utf-8", "replace") for key, word in more.items()}}))
        case _:
            file = draw(st.sampled_from(FILES).flatmap(lambda header: safetensors_files(header, bytes(64))))
            return "application/vnd.safetensors", file


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    method, path, known = draw(st.sampled_from(operations()))
    ends = method == "DELETE" or path.endswith("/unload")
    names = (
        words.filter(lambda word: word not in NEVER_ENDED)
        if ends
        else st.sampled_from(["mlp", "words", "tone"]) | words
    )
    url = path
    for parameter in ("model_id", "name", "alias", "version"):
        own = {"model_id": "mlp", "name": "tone", "alias": "prod", "version": "1"}[parameter]
        drawn = draw(names if ends else one_in(6, names, own))
        url = url.replace(f"{{{parameter}}}", encoded(drawn))
    content_type, content = (None, b"") if method in ("GET", "HEAD", "DELETE") else draw(bodies(method, path))
    headers = draw(one_in(4, st.dictionaries(st.sampled_from(HEADERS), header_values, max_size=2), {}))
    if content_type is not None:
        headers = {"Content-Type": content_type.encode("latin-1", "replace"), **headers}
    method = draw(one_in(20, st.sampled_from(["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "POST", "TRACE"]), method))
    # Not waited for: an hour is a legal `wait`.
    query = draw(one_in(3, queries([name for name in known if name != "wait"]), ""))
    return {"method": method, "url": f"{url}?{query}", "headers": [*headers.items()], "content": content}


@pytest.mark.deep
@settings(
    max_examples=3_000,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
@given(request=requests())
def test_no_request_is_answered_with_a_failure(hosting: TestClient, request: dict[str, Any]) -> None:
    answer = hosting.request(**request)
    assert answer.status_code < 500 or answer.status_code in EXPECTED, answer.text
    if answer.status_code >= 400 and request["method"] != "HEAD":
        of_problems = "application/json" if request["url"].startswith("/v1/") else "application/problem+json"
        assert answer.headers["content-type"] == of_problems
    neighbour = expect(hosting.post("/models/mlp/infer", json={"inputs": {"x": ROWS}}), 200)
    assert neighbour["outputs"]["output"]["shape"] == [2, 3]
