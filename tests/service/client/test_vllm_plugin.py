"""vLLM's resolver: what it asks of the registry, what it keeps on disk, and what vLLM is given."""

import asyncio
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import vllm_stub
from bases import mlp
from peft import PeftModel
from trained_adapters import of_peft, trained

from service.client import Client, Unreachable, asynchronous, vllm_plugin
from service.client.retries import Retries
from service.client.version_cache import NoRoom, NotVerified
from service.client.vllm_plugin import RegistryResolver

PROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
BASE = "/models/org/mlp"
"""What vLLM calls the base model; the registry's id is its last part."""


@pytest.fixture(scope="module")
def models(client: Client, tmp_path_factory: pytest.TempPathFactory) -> dict[str, PeftModel]:
    """What PEFT has: `fleet` has two versions, `prod` is the first; `scales` is of IA3; `elsewhere` is `twin`'s."""
    client.models.register("twin", {"kind": "python", "factory": "bases:mlp"})
    directory = tmp_path_factory.mktemp("fleet")
    found: dict[str, PeftModel] = {}
    for version in (1, 2):
        found[f"fleet@{version}"] = trained(directory / str(version), version)
        client.adapters.push("fleet", directory / str(version), model="mlp")
    client.adapters.promote("fleet", 1, alias="prod")
    client.adapters.push("elsewhere", directory / "1", model="twin")
    config = {"peft_type": "IA3", "target_modules": ["first"], "feedforward_modules": []}
    client.adapters.create("scales", config, model="mlp")
    return found


@pytest.fixture
def environment(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("ADAPTERS_URL", address)
    monkeypatch.setenv("ADAPTERS_CACHE", str(tmp_path / "cache"))
    return monkeypatch


def registered(environment: pytest.MonkeyPatch) -> dict[str, Any]:
    """The resolvers after vLLM has called its plugin, found as vLLM finds it."""
    registry = vllm_stub.install(environment)
    for name, value in PROJECT["entry-points"]["vllm.general_plugins"].items():
        EntryPoint(name, value, "vllm.general_plugins").load()()
    return dict(registry.resolvers)


def resolve(environment: pytest.MonkeyPatch, *names: str, base: str = BASE) -> list[vllm_stub.LoRARequest | None]:
    """As one process of vLLM's asks, one after the other."""

    async def ask() -> list[vllm_stub.LoRARequest | None]:
        resolver = registered(environment)["adapter-service"]
        return [await resolver.resolve_lora(base, name) for name in names]

    return asyncio.run(ask())


def entries(tmp_path: Path) -> set[str]:
    return {entry.name for entry in (tmp_path / "cache").iterdir()}


def test_a_reference_is_a_directory_that_peft_loads(
    environment: pytest.MonkeyPatch, models: dict[str, PeftModel], tmp_path: Path
) -> None:
    meant = {"fleet": "fleet@2", "fleet@1": "fleet@1", "fleet@prod": "fleet@1"}
    for name, request in zip(meant, resolve(environment, *meant), strict=True):
        assert request is not None
        assert (request.lora_name, request.lora_int_id > 0) == (name, True)
        loaded = PeftModel.from_pretrained(mlp(), request.lora_path).eval()
        np.testing.assert_array_equal(of_peft(loaded), of_peft(models[meant[name]]))
    assert len(entries(tmp_path)) == 2


def test_vllm_is_given_one_of_its_resolvers(environment: pytest.MonkeyPatch) -> None:
    assert isinstance(registered(environment)["adapter-service"], vllm_stub.LoRAResolver)


@pytest.mark.usefixtures("models")
def test_what_the_registry_lacks_is_left_to_other_resolvers(environment: pytest.MonkeyPatch) -> None:
    names = ("never", "fleet@9", "fleet@never", "scales", "elsewhere", "../fleet", "")
    assert resolve(environment, *names) == [None] * len(names)


@pytest.mark.usefixtures("models")
def test_the_base_models_id_may_be_given(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ADAPTERS_MODEL", "twin")
    elsewhere, fleet = resolve(environment, "elsewhere", "fleet")
    assert elsewhere is not None
    assert fleet is None


@pytest.mark.usefixtures("models")
def test_a_version_is_pulled_once(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (first,) = resolve(environment, "fleet")
    assert first is not None
    weights = Path(first.lora_path) / "adapter_model.safetensors"
    written = weights.stat().st_mtime_ns
    assert resolve(environment, "fleet@2", "fleet@latest")[0] is not None
    assert weights.stat().st_mtime_ns == written
    assert len(entries(tmp_path)) == 1


def test_another_config_of_the_same_weights_is_another_entry(
    environment: pytest.MonkeyPatch, client: Client, tmp_path: Path
) -> None:
    trained(tmp_path / "saved", 3)
    config = (tmp_path / "saved" / "adapter_config.json").read_text()
    for alpha in (4, 8):
        changed = config.replace('"lora_alpha": 4', f'"lora_alpha": {alpha}')
        (tmp_path / "saved" / "adapter_config.json").write_text(changed)
        client.adapters.push("scaled", tmp_path / "saved", model="mlp")
    one, other = resolve(environment, "scaled@1", "scaled@2")
    assert one is not None
    assert other is not None
    assert one.lora_path != other.lora_path
    digest = client.adapters.get("scaled").newest.digest.removeprefix("sha256:")
    assert all(entry.startswith(digest) for entry in entries(tmp_path))


@pytest.mark.usefixtures("models")
def test_bytes_with_another_digest_are_neither_kept_nor_served(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    receive = asynchronous.receive_async

    async def flip(answer: httpx.Response, into: Path, watch: Any) -> None:
        await receive(answer, into, watch)
        body = bytearray(into.read_bytes())
        body[-1] ^= 1
        into.write_bytes(body)

    environment.setattr(asynchronous, "receive_async", flip)
    with pytest.raises(NotVerified, match="fleet@2"):
        resolve(environment, "fleet")
    assert entries(tmp_path) == set()


def size_of(request: vllm_stub.LoRARequest | None) -> int:
    assert request is not None
    return sum(file.stat().st_size for file in Path(request.lora_path).iterdir())


@pytest.mark.usefixtures("models")
def test_what_was_used_longest_ago_makes_room(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (first,) = resolve(environment, "fleet@1")
    environment.setenv("ADAPTERS_CACHE_BYTES", str(size_of(first) + 10))
    (second,) = resolve(environment, "fleet@2")
    assert second is not None
    assert entries(tmp_path) == {Path(second.lora_path).name}


@pytest.mark.usefixtures("models")
def test_what_a_process_was_given_is_never_taken_away(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (first,) = resolve(environment, "fleet@1")
    environment.setenv("ADAPTERS_CACHE_BYTES", str(size_of(first) + 10))
    with pytest.raises(NoRoom, match="beside 1 versions in use"):
        resolve(environment, "fleet@1", "fleet@2")
    assert len(entries(tmp_path)) == 1


def test_a_registry_that_is_away_is_no_missing_adapter(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ADAPTERS_URL", "http://127.0.0.1:9")
    environment.setattr(vllm_plugin, "RETRIES", Retries(attempts=1))
    with pytest.raises(Unreachable):
        resolve(environment, "fleet")


def test_without_an_address_vllm_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADAPTERS_URL", raising=False)
    assert registered(monkeypatch) == {}


def test_a_limit_that_is_no_number_is_refused(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ADAPTERS_CACHE_BYTES", "20GB")
    with pytest.raises(ValueError, match="ADAPTERS_CACHE_BYTES is '20GB'"):
        registered(environment)


def test_the_resolver_has_the_signature_that_vllm_calls() -> None:
    theirs = vllm_stub.LoRAResolver.resolve_lora.__annotations__.keys()
    assert RegistryResolver.resolve_lora.__annotations__.keys() == theirs
