"""Where adapters act and what changed between two, over HTTP."""

import pytest
from apps import RANDOM_LORA, SAFETENSORS, create, expect, expect_problem
from safetensors.torch import load, save
from starlette.testclient import TestClient


@pytest.fixture(scope="module", autouse=True)
def versions(client: TestClient) -> None:
    """`measured` of two versions, the later half as strong; `other` on another base model."""
    create(client, "measured")
    state = load(client.get("/adapters/measured/state").content)
    halved = {key: tensor / 2 if ".lora_B." in key else tensor for key, tensor in state.items()}
    expect(client.put("/adapters/measured/state", content=save(halved), headers=SAFETENSORS), 201)
    expect(client.put("/adapters/measured/aliases/prod", json={"version": 1}), 200)
    create(client, "other", {**RANDOM_LORA, "target_modules": ["linear"]}, "dummy")


def test_an_adapters_strength_is_listed_by_target(client: TestClient) -> None:
    found = expect(client.get("/adapters/measured/strength", params={"alias": "prod"}), 200)
    assert found["reference"] == "measured@1"
    assert [target["target"] for target in found["targets"]] == ["first", "second"]
    halved = expect(client.get("/adapters/measured/strength"), 200)["targets"]
    for whole, half in zip(found["targets"], halved, strict=True):
        assert half["norm"] == pytest.approx(whole["norm"] / 2)
        assert 1 <= whole["effective_rank"] <= 2


def test_a_difference_is_to_the_version_before(client: TestClient) -> None:
    found = expect(client.get("/adapters/measured/diff"), 200)
    assert (found["before"], found["after"], found["config"]) == ("measured@1", "measured@2", {})
    for target in found["targets"]:
        assert target["cosine"] == pytest.approx(1.0)
        assert target["change"] == pytest.approx(target["before"]["norm"] / 2)


def test_configs_are_compared_too(client: TestClient) -> None:
    create(client, "measured-more", {**RANDOM_LORA, "lora_alpha": 8})
    found = expect(client.get("/adapters/measured-more/diff", params={"before": "measured@prod"}), 200)
    assert found["config"] == {"lora_alpha": {"before": 4, "after": 8}}


def test_what_cant_be_compared_is_named(client: TestClient) -> None:
    first = expect_problem(client.get("/adapters/other/diff"), 409, "conflict")
    assert "first version" in first["detail"]
    apart = expect_problem(client.get("/adapters/other/diff", params={"before": "measured"}), 409, "conflict")
    assert "belong to one base model" in apart["detail"]
    expect_problem(client.get("/adapters/measured/diff", params={"before": "nobody@1"}), 404, "not-found")
    expect_problem(client.get("/adapters/nobody/strength"), 404, "not-found")
