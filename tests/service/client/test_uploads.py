"""What is pushed, and how: directories, PEFT's models, state dicts; files are read as they are sent."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import peft
import pytest
import torch
from apps import LORA
from bases import mlp

from service.client import AsyncClient, CheckpointFiles, Client, NotFound, OtherVersion, Retries, Unreachable
from service.client.checkpoints import CONFIG, WEIGHTS
from service.client.model_cards import CARD

from .test_retries import Scripted

RANK = 4096
"""With it the file is several of the pieces in which files are sent."""

NOT_THERE = httpx.Response(404, json={"type": "not-found", "detail": "There is no adapter 'tone'."})
VERSION = {"version": 1, "reference": "tone@1", "method": "LORA", "digest": "sha256:0", "parameters": 1, "bytes": 4}
CREATED = httpx.Response(201, json={"name": "tone", "model": "mlp", **VERSION})


class Breaking(httpx.SyncByteStream):
    def __iter__(self) -> Iterator[bytes]:
        yield b"the first half"
        raise httpx.ReadError("cut")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    weights = {"first.lora_A.weight": np.ones((RANK, 4), "f4"), "first.lora_B.weight": np.ones((8, RANK), "f4")}
    config = {**LORA, "target_modules": ["first"], "r": RANK}
    return CheckpointFiles.of(config, weights).save(tmp_path_factory.mktemp("wide"))


def test_a_state_dict_of_tensors_and_a_config_are_pushed_with_labels(client: Client) -> None:
    weights = {
        "base_model.model.first.lora_A.weight": torch.ones(2, 4, dtype=torch.bfloat16),
        "base_model.model.first.lora_B.weight": torch.ones(8, 2, dtype=torch.bfloat16),
    }
    config = {**LORA, "target_modules": {"first"}}
    pushed = client.adapters.push("tensors", (weights, config), model="mlp", labels={"stage": "dev"}, reason="first")
    assert pushed.version.version == 1
    client.adapters.push("tensors", (weights, config), model="mlp", labels={"team": "x"})
    assert client.adapters.get("tensors").raw["labels"] == {"stage": "dev", "team": "x"}
    assert client.adapters.state("tensors")["first.lora_A.weight"].tolist() == [[1.0] * 4] * 2
    assert next(client.events.list(adapter="tensors", kind="version")).raw["reason"] == "first"


def test_a_peft_model_is_pushed_from_where_it_was_trained(client: Client) -> None:
    base = mlp()
    for name in ("default", "second"):
        model = peft.get_peft_model(
            base, peft.LoraConfig(r=2, target_modules=["first"], init_lora_weights=False), adapter_name=name
        )
        pushed = client.adapters.push(f"trained-{name}", model, model="mlp")
        assert pushed.version.method == "LORA"
        state = client.adapters.state(f"trained-{name}")["first.lora_A.weight"]
        trained = peft.get_peft_model_state_dict(model, adapter_name=name)["base_model.model.first.lora_A.weight"]
        assert state.tolist() == trained.tolist()
        base = model.unload()


def test_a_file_is_sent_piece_by_piece_and_its_progress_reported(
    client: Client, directory: Path, tmp_path: Path
) -> None:
    size = (directory / WEIGHTS).stat().st_size
    told: list[tuple[int, int]] = []
    client.adapters.push("big-again", directory, model="mlp", progress=lambda *step: told.append(step))
    assert told[-1] == (size, size)
    assert len(told) > 2
    assert [sent for sent, _ in told] == sorted(sent for sent, _ in told)

    received: list[tuple[int, int]] = []
    again = client.adapters.pull("big-again", tmp_path / "again", progress=lambda *step: received.append(step))
    assert received[-1][0] == received[-1][1] >= size
    assert sorted(file.name for file in again.iterdir()) == sorted([CARD, CONFIG, WEIGHTS])
    assert client.adapters.push("big-again", again, model="mlp").unchanged


def test_an_upload_is_followed_and_has_a_result_or_an_error(client: Client, directory: Path) -> None:
    with client.adapters.upload("slow-again", directory, model="mlp") as progress:
        shares = [step.sent / step.total for step in progress]
    assert shares[-1] == 1.0
    assert progress.result.version.version == 1
    with pytest.raises(NotFound), client.adapters.upload("none", directory, model="nobody"):
        pass


def test_the_client_for_asyncio_sends_files_too(client: Client, address: str, directory: Path, tmp_path: Path) -> None:
    async def push() -> list[float]:
        async with AsyncClient(address) as own:
            async with own.adapters.upload("async-wide", directory, model="mlp") as progress:
                shares = [step.sent / step.total async for step in progress]
            assert (await progress.result()).version.version == 1
            pulled = await own.adapters.pull("async-wide", tmp_path)
            assert (await own.adapters.push("async-wide", pulled, model="mlp")).unchanged
            return shares

    shares = asyncio.run(push())
    assert len(shares) > 2
    assert shares[-1] == 1.0


def test_a_connection_that_breaks_in_an_upload_is_begun_anew_from_the_start(directory: Path) -> None:
    transport = Scripted(NOT_THERE, httpx.WriteError("cut"), CREATED)
    own = Client("http://service", retries=Retries(2, longest_s=0.0), transport=transport)
    assert own.adapters.push("tone", directory, model="mlp").version.reference == "tone@1"
    broken, whole = (request.headers["Idempotency-Key"] for request in transport.requests[1:])
    assert broken == whole


def test_a_download_that_breaks_off_leaves_no_file(directory: Path, tmp_path: Path) -> None:
    adapter = httpx.Response(200, json={"name": "tone", "model": "mlp", "versions": [VERSION], "aliases": {}})
    config = httpx.Response(200, json={"peft_type": "LORA"})
    transport = Scripted(adapter, config, httpx.Response(200, stream=Breaking()))
    own = Client("http://service", retries=Retries(1), transport=transport)
    with pytest.raises(Unreachable, match="cut"):
        own.adapters.pull("tone@1", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_answer_of_another_version_is_said_to_be_one() -> None:
    own = Client("http://service", transport=Scripted(httpx.Response(200, json={"adapter": "tone"})))
    with pytest.raises(OtherVersion, match="doesn't read"):
        own.adapters.get("tone")
    gone = httpx.Response(404, json={"type": "not-found", "detail": "Nothing has the address /adapters."})
    with pytest.raises(NotFound, match="older than this client"):
        list(Client("http://service", transport=Scripted(gone)).adapters.list())
