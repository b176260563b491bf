"""The app on a socket, `openai`'s own client, and hosts that write what a test tells them to."""

from collections.abc import Generator, Iterator

import httpx
import pytest
from apps import RANDOM_LORA, settings_in
from openai import OpenAI
from scripted_texts import Script, scripted
from sockets import listening
from tiny_llava import save_processor
from word_models import save, tiny_llama, word_tokenizer

from service.bootstrap import create_app


@pytest.fixture(scope="package")
def address(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """`mlp` is hosted, with two versions of `tone` and the alias `prod` for the first; `caller` calls tools as the
    models of Mistral do."""
    directory = tmp_path_factory.mktemp("openai")
    save(tiny_llama(), word_tokenizer(), directory / "models" / "caller")
    (directory / "models" / "caller" / "chat_template.jinja").write_text("{{ tools }} [TOOL_CALLS]")
    tokenizer, seer = save_processor(directory / "models" / "seer")
    save(seer, tokenizer, directory / "models" / "seer")
    with listening(create_app(settings_in(directory))) as address:
        with httpx.Client(base_url=address, timeout=60) as http:
            mlp, caller = {"kind": "python", "factory": "bases:mlp"}, {"kind": "huggingface", "path": "caller"}
            for name, source in (("mlp", mlp), ("caller", caller)):
                http.post("/models", params={"wait": 60}, json={"id": name, "source": source}).raise_for_status()
            http.post("/models/mlp/adapters", json={"name": "tone", "config": RANDOM_LORA}).raise_for_status()
            state = http.get("/adapters/tone/state").content
            http.put("/adapters/tone/aliases/prod", json={"version": 1}).raise_for_status()
            sent = {"Content-Type": "application/vnd.safetensors"}
            http.put("/adapters/tone/state", content=state, params={"force": "true"}, headers=sent)
        yield address


@pytest.fixture(scope="package")
def http(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=60) as http:
        yield http


@pytest.fixture(scope="package")
def client(address: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture
def script() -> Iterator[Script]:
    with scripted() as script:
        yield script
