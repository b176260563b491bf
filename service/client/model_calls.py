"""The calls about base models."""

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Final, TypeAlias

from service.client.calls import Call, Plan, nothing, once, path
from service.client.paging import PageOf, read_page
from service.client.records import Model

Steps: TypeAlias = Callable[[str, float | None], None]
"""Called with what a build is at, and with how much of it is done (0 to 1) where that can be told."""
LOOK_S: Final = 0.5
"""Seconds between two looks at a model that loads."""


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


def load_model(id: str, wait_s: float, progress: Steps | None) -> Plan[Model]:
    """Begin to load it, and wait for at most `wait_s` seconds, in which `progress` is called now and then."""
    until = monotonic() + wait_s
    while True:
        rest_s = max(0.0, until - monotonic())
        model: Model = yield Call(
            "POST",
            path("models", id, "load"),
            lambda answer: Model.read(answer.json()),
            params={"wait": min(rest_s, LOOK_S)} if rest_s else {},
        )
        if model.state != "loading" or not rest_s:
            return model
        if progress is not None and (step := model.raw.get("progress")) is not None:
            progress(step["step"], step.get("fraction"))


def unload_model(id: str) -> Call[Model]:
    return Call("POST", path("models", id, "unload"), lambda answer: Model.read(answer.json()))


def delete_model(id: str, cascade: bool) -> Call[None]:
    params = {"cascade": "true"} if cascade else {}
    return Call("DELETE", path("models", id), nothing, params=params, repeatable=False)
