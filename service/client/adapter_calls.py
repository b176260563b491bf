"""The calls about adapters: one function for each, and the plan of a push."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from service.client.broken_uploads import SentSoFar
from service.client.calls import SAFETENSORS, Call, Plan, nothing, once, path
from service.client.checkpoints import CONFIG, WEIGHTS, CheckpointFiles
from service.client.errors import ClientError, NotFound, Unreachable
from service.client.model_cards import write_card
from service.client.paging import Pages, read_page
from service.client.records import Adapter, Pushed
from service.client.tensors import Array, decode_arrays
from service.client.uploads import Watch

# PEFT writes these too, but they don't change what the adapter computes: two saves of one adapter may differ here.
_BESIDE_THE_POINT = frozenset({"base_model_name_or_path", "inference_mode", "peft_version", "revision", "auto_mapping"})


def get_adapter(name: str) -> Call[Adapter]:
    return Call("GET", path("adapters", name), _adapter)


def list_adapters(model: str | None, filters: Mapping[str, str]) -> Pages[Adapter]:
    address = path("adapters") if model is None else path("models", model, "adapters")
    read = read_page(Adapter.read)
    return lambda cursor: Call("GET", address, read, params=dict(filters) | ({"cursor": cursor} if cursor else {}))


def create_adapter(
    name: str, config: Mapping[str, Any], model: str, seed: int | None, metadata: Mapping[str, Any]
) -> Call[Pushed]:
    body = {"name": name, "config": dict(config), "seed": seed, "metadata": dict(metadata)}
    return Call("POST", path("models", model, "adapters"), _pushed, headers=once(), json=body)


def upload_adapter(
    name: str,
    files: CheckpointFiles,
    model: str,
    metadata: Mapping[str, Any],
    watch: Watch | None,
    dry_run: bool = False,
) -> Call[Pushed]:
    form = {"name": name, "metadata": json.dumps(dict(metadata)), **_only_checked(dry_run)}
    return _upload(path("models", model, "adapters"), files, form, watch)


def upload_version(
    name: str,
    files: CheckpointFiles,
    metadata: Mapping[str, Any],
    reason: str | None,
    watch: Watch | None,
    dry_run: bool = False,
) -> Call[Pushed]:
    # A config that leaves defaults out differs from the stored one, and may still be the same.
    form = {"metadata": json.dumps(dict(metadata)), "if_changed": "true", **_only_checked(dry_run)}
    return replace(_upload(path("adapters", name, "versions"), files, form, watch), params=because(reason))


def put_state(
    name: str,
    weights: bytes | Path,
    metadata: Mapping[str, Any],
    reason: str | None,
    watch: Watch | None,
    dry_run: bool = False,
) -> Call[Pushed]:
    notes = {"metadata": json.dumps(dict(metadata))} if metadata else {}
    return Call(
        "PUT",
        path("adapters", name, "state"),
        _pushed,
        params={**because(reason), **_only_checked(dry_run), **notes},
        headers={"Content-Type": SAFETENSORS},
        content=weights,
        watch=watch,
    )


def check(name: str, files: CheckpointFiles, model: str, watch: Watch | None) -> Plan[Pushed]:
    """What a push would do, without storing anything: its warnings, and the version it would make."""
    return _store(name, files, model, {}, None, watch, dry_run=True)


def push(
    name: str,
    files: CheckpointFiles,
    model: str,
    metadata: Mapping[str, Any],
    labels: Mapping[str, str],
    reason: str | None,
    watch: Watch | None,
) -> Plan[Pushed]:
    """A new adapter, or a new version of the one that has this name, or nothing where the newest has these bytes."""
    pushed: Pushed = yield from _store(name, files, model, {**files.origin, **metadata}, reason, watch)
    if labels:
        adapter: Adapter = yield get_adapter(name)
        yield describe_adapter(name, {"labels": {**(adapter.raw.get("labels") or {}), **labels}})
    return pushed


def _store(
    name: str,
    files: CheckpointFiles,
    model: str,
    metadata: Mapping[str, Any],
    reason: str | None,
    watch: Watch | None,
    dry_run: bool = False,
) -> Plan[Pushed]:
    try:
        stored: Mapping[str, Any] | None = yield get_config(name)
    except NotFound:
        stored = None
    sent = SentSoFar(watch)
    if stored is None:
        adapter = upload_adapter(name, files, model, metadata, sent.watch, dry_run)
        upload = replace(adapter, params=because(reason))
    elif _computes_the_same(stored, json.loads(files.config)):
        upload = put_state(name, files.weights, metadata, reason, sent.watch, dry_run)
    else:
        upload = upload_version(name, files, metadata, reason, sent.watch, dry_run)
    try:
        return (yield upload)
    except Unreachable as error:
        raise sent.explain(error, dry_run) from error


def get_config(reference: str) -> Call[dict[str, Any]]:
    name, params = split_reference(reference)
    return Call("GET", path("adapters", name, "config"), _object, params=params)


def get_state(reference: str) -> Call[dict[str, Array]]:
    name, params = split_reference(reference)
    return Call("GET", path("adapters", name, "state"), lambda answer: decode_arrays(answer.content), params=params)


def pull(reference: str, directory: Path, watch: Watch | None) -> Plan[Path]:
    """Both files of one version, also where a newer one is added or an alias moves meanwhile, and a model card."""
    name, _ = split_reference(reference)
    adapter: Adapter = yield get_adapter(name)
    version = adapter.find(reference)
    if version is None:
        yield get_config(reference)  # the service says what there isn't
        raise ClientError(f"{reference} has only just come into being: pull it again.")
    params = {"version": str(version.version)}
    config: dict[str, Any] = yield Call("GET", path("adapters", name, "config"), _object, params=params)
    directory.mkdir(parents=True, exist_ok=True)
    params["keys"] = "peft"  # PEFT's own prefix on each key
    yield Call("GET", path("adapters", name, "state"), nothing, params=params, into=directory / WEIGHTS, watch=watch)
    (directory / CONFIG).write_text(json.dumps(config, indent=2), encoding="utf-8")
    write_card(directory, config, version, adapter.model)
    return directory


def move_alias(name: str, alias: str, version: int, reason: str | None) -> Call[None]:
    body = {"version": version, "reason": reason}
    return Call("PUT", path("adapters", name, "aliases", alias), nothing, json=body)


def describe_adapter(name: str, words: Mapping[str, Any]) -> Call[Adapter]:
    return Call("PATCH", path("adapters", name), _adapter, json=dict(words))


def delete_alias(name: str, alias: str, reason: str | None) -> Call[None]:
    address = path("adapters", name, "aliases", alias)
    return Call("DELETE", address, nothing, params=because(reason), repeatable=False)


def delete_adapter(name: str, version: int | None, drain: bool, reason: str | None) -> Call[None]:
    address = path("adapters", name) if version is None else path("adapters", name, "versions", str(version))
    params = because(reason) | ({"drain": "true"} if drain else {})
    return Call("DELETE", address, nothing, params=params, repeatable=False)


def because(reason: str | None) -> dict[str, str]:
    """The query of a change that says why."""
    return {} if reason is None else {"reason": reason}


def compose(name: str, adapters: Mapping[str, float], model: str, options: Mapping[str, Any]) -> Call[Pushed]:
    body = {"name": name, "adapters": dict(adapters), **options}
    return Call("POST", path("models", model, "adapters", "compose"), _pushed, headers=once(), json=body)


def load_adapter(name: str, model: str, pin: bool) -> Call[Adapter]:
    params = {"pin": "true"} if pin else {}
    return Call("POST", path("models", model, "adapters", name, "load"), _adapter, params=params)


def unload_adapter(name: str, model: str) -> Call[Adapter]:
    return Call("POST", path("models", model, "adapters", name, "unload"), _adapter)


def _only_checked(dry_run: bool) -> dict[str, str]:
    return {"dry_run": "true"} if dry_run else {}


def _upload(address: str, files: CheckpointFiles, form: Mapping[str, str], watch: Watch | None) -> Call[Pushed]:
    parts = {"config": (CONFIG, files.config), "weights": (WEIGHTS, files.weights)}
    return Call("POST", address, _pushed, headers=once(), files=parts, form=form, watch=watch)


def split_reference(reference: str) -> tuple[str, dict[str, str]]:
    """The name, and the query that selects a version: `tone@3`, `tone@prod`."""
    name, _, selector = reference.partition("@")
    return name, {("version" if selector.isdecimal() else "alias"): selector} if selector else {}


def _computes_the_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return _essence(one) == _essence(other)


def _essence(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a config says beyond defaults that say nothing: null, false and empty values are left out."""
    return {
        key: sorted(value) if isinstance(value, list) and all(isinstance(item, str) for item in value) else value
        for key, value in config.items()
        if key not in _BESIDE_THE_POINT and value not in (None, False, [], {}, "")
    }


def _adapter(answer: httpx.Response) -> Adapter:
    return Adapter.read(answer.json())


def _pushed(answer: httpx.Response) -> Pushed:
    return Pushed.read(answer.json())


def _object(answer: httpx.Response) -> dict[str, Any]:
    return answer.json()
