"""The app on a socket and Triton's own client, unmodified, with the service's own API beside it."""

from collections.abc import Generator, Iterator
from typing import Any

import httpx
import pytest
from apps import RANDOM_LORA, ROWS, settings_in
from sockets import listening
from transformers import BertModel
from tritonclient.http import InferenceServerClient
from word_models import bert_config, save, tiny_llama, word_tokenizer

from service.bootstrap import create_app

PYTHON_EXAMPLES: dict[str, Any] = {
    "mlp": {"x": ROWS},
    "dummy": {"input_ids": {"dtype": "int32", "shape": [1, 2], "data": [1, 2]}},
}


@pytest.fixture(scope="package")
def http(tmp_path_factory: pytest.TempPathFactory) -> Generator[httpx.Client]:
    """`mlp` and `dummy` with example inputs, an `encoder` and a `writer`; `tone` has two versions, `prod` is its
    first."""
    directory = tmp_path_factory.mktemp("v2")
    save(BertModel(bert_config()), word_tokenizer(), directory / "models" / "encoder")
    save(tiny_llama(), word_tokenizer(), directory / "models" / "writer")
    app = create_app(settings_in(directory, max_json_bytes=400_000, max_upload_bytes=4_000_000))
    with listening(app) as address, httpx.Client(base_url=address, timeout=60) as http:
        for model, example in PYTHON_EXAMPLES.items():
            source = {"kind": "python", "factory": f"bases:{model}"}
            body = {"id": model, "source": source, "example_inputs": example}
            http.post("/models?wait=60", json=body).raise_for_status()
        for model in ("encoder", "writer"):
            body = {"id": model, "source": {"kind": "huggingface", "path": model}}
            http.post("/models?wait=60", json=body).raise_for_status()
        for name, seed in (("tone", 1), ("other", 2)):
            body = {"name": name, "config": RANDOM_LORA, "seed": seed}
            http.post("/models/mlp/adapters", json=body).raise_for_status()
        http.put("/adapters/tone/aliases/prod", json={"version": 1}).raise_for_status()
        state = http.get("/adapters/other/state").content
        sent = {"Content-Type": "application/vnd.safetensors"}
        http.put("/adapters/tone/state", content=state, headers=sent).raise_for_status()
        yield http


@pytest.fixture(scope="package")
def triton(http: httpx.Client) -> Iterator[InferenceServerClient]:
    client = InferenceServerClient(f"{http.base_url.host}:{http.base_url.port}", network_timeout=60)
    yield client
    client.close()
