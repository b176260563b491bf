"""The calls about base models."""

from collections.abc import Mapping
from typing import Any

from service.client.calls import Call, nothing, once, path
from service.client.paging import PageOf, read_page
from service.client.records import Model


def get_model(id: str) -> Call[Model]:
    return Call("GET", path("models", id), lambda answer: Model.read(answer.json()))


def list_models(cursor: str | None) -> Call[PageOf[Model]]:
    return Call("GET", path("models"), read_page(Model.read), params={"cursor": cursor} if cursor else {})


def register_model(id: str, source: Mapping[str, Any], options: Mapping[str, Any], wait_s: float) -> Call[Model]:
    return Call(
        "POST",
        path("models"),
        lambda answer: Model.read(answer.json()),
        params={"wait": wait_s},
        headers=once(),
        json={"id": id, "source": dict(source), **options},
        timeout_s=wait_s + 60,
    )


def load_model(id: str) -> Call[Model]:
    return Call("POST", path("models", id, "load"), lambda answer: Model.read(answer.json()))


def unload_model(id: str) -> Call[Model]:
    return Call("POST", path("models", id, "unload"), lambda answer: Model.read(answer.json()))


def delete_model(id: str, cascade: bool) -> Call[None]:
    params = {"cascade": "true"} if cascade else {}
    return Call("DELETE", path("models", id), nothing, params=params, repeatable=False)
