"""The names that `model` may be, by the unmodified `openai` client."""

import httpx
import pytest
from apps import settings_in
from openai import AuthenticationError, NotFoundError, OpenAI, PermissionDeniedError
from sockets import listening

from service.bootstrap import create_app


def test_base_models_adapters_and_aliases_are_listed(client: OpenAI) -> None:
    models = {model.id: model for model in client.models.list()}
    assert list(models) == ["caller", "mlp", "tone", "tone@prod"]
    assert {model.object for model in models.values()} == {"model"}
    assert [model.to_dict()["root"] for model in models.values()] == ["caller", "mlp", "tone@2", "tone@1"]
    assert [model.to_dict()["parent"] for model in models.values()] == [None, None, "mlp", "mlp"]


@pytest.mark.parametrize(
    ("name", "root"), [("mlp", "mlp"), ("tone", "tone@2"), ("tone@1", "tone@1"), ("mlp/tone@prod", "tone@1")]
)
def test_each_name_says_what_it_means(client: OpenAI, name: str, root: str) -> None:
    model = client.models.retrieve(name)
    assert (model.id, model.to_dict()["root"]) == (name, root)


@pytest.mark.parametrize("name", ["none", "tone@7", "mlp/none", "none/tone", "mlp@1"])
def test_a_name_that_means_nothing_is_not_found(client: OpenAI, name: str) -> None:
    with pytest.raises(NotFoundError) as raised:
        client.models.retrieve(name)
    assert (raised.value.code, raised.value.param) == ("model_not_found", "model")


def test_keys_are_openais_api_keys(tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = settings_in(tmp_path_factory.mktemp("keys"), admin_key="the-operators-own-key")
    with listening(create_app(settings)) as address, httpx.Client(base_url=address) as http:
        as_admin = {"X-API-Key": "the-operators-own-key"}
        source = {"kind": "python", "factory": "bases:mlp"}
        for model in ("mlp", "other"):
            http.post("/models?wait=60", json={"id": model, "source": source}, headers=as_admin).raise_for_status()
        asked = {"name": "reads", "role": "reader", "models": ["other"]}
        key = http.post("/keys", json=asked, headers=as_admin).json()["key"]
        with OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0) as client:
            assert [model.id for model in client.models.list()] == ["other"]
            with pytest.raises(NotFoundError):
                client.models.retrieve("mlp")
            with pytest.raises(PermissionDeniedError):
                client.completions.create(model="other", prompt="a")
        with OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as stranger:
            with pytest.raises(AuthenticationError) as raised:
                stranger.models.list()
            assert raised.value.code == "invalid_api_key"
