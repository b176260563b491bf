"""The two ways to bring an adapter: JSON, for fresh weights, or a form with PEFT's own two files."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from models_registry.errors import Invalid
from models_registry.records import Fault
from service.front.api.adapter_words import MOST_LABELS, Label, LabelValue
from service.front.api.dependencies import Name, TheSettings, json_reader_of
from service.front.api.http.bodies import (
    BINARY,
    JSON,
    MULTIPART,
    JsonObject,
    beside_the_loop,
    media_type_of,
    read_form,
    read_json,
    validate,
)
from service.front.api.http.checkpoint_zip import read_checkpoint
from service.front.api.http.json_reader import JsonReader
from service.front.api.http.spool import MAX_JSON, RECEIVE, spool_of, temporary_room, too_large
from service.front.api.problems import TOO_LARGE, Refused
from service.settings import Settings

_JSON_PARTS = ("config", "metadata", "labels")
_FILE_PARTS = ("weights", "checkpoint")
# PEFT's own words for the two, with and without their files' endings.
_SPELLINGS = {
    "adapter_config": "config",
    "adapter_config.json": "config",
    "adapter_model": "weights",
    "adapter_model.safetensors": "weights",
}


def _or_a_checkpoint(schema: dict[str, Any]) -> None:
    """A `checkpoint` takes the place of `config` and `weights`. Not as alternatives: clients are generated from this,
    and few generators know them in forms."""
    schema["properties"]["checkpoint"] = {
        **BINARY,
        "title": "Checkpoint",
        "description": "Instead of `config` and `weights`: a .zip with both at its root, as `GET …/checkpoint` gives.",
        "examples": ["pirate@3.zip"],
    }
    schema["required"] = [name for name in schema["required"] if name not in {"config", "weights"}]


_MOST_KEYS = 64 * 1024
"""Bytes of `accept_unknown`."""


class _AdapterBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    config: JsonObject = Field(
        description="PEFT's adapter_config.json as it stands.",
        examples=[{"peft_type": "LORA", "r": 8, "target_modules": ["q_proj", "v_proj"]}],
    )
    metadata: JsonObject = Field(
        default={}, description="Anything; it is kept and shown with the version.", examples=[{"run": "7"}]
    )
    labels: dict[Label, LabelValue] = Field(
        default={},
        max_length=MOST_LABELS,
        description="Of the version, for finding it; as Kubernetes has them.",
        examples=[{"stage": "canary"}],
    )
    accept_unknown: tuple[str, ...] = Field(
        default=(), description="Keys of the config to keep without knowing them.", examples=[["my_note"]]
    )
    accept_unmatched: bool = Field(
        default=False,
        description="Accept, with a warning, that the config names modules which the base model lacks, as PEFT does.",
        examples=[True],
    )
    dry_run: bool = Field(default=False, description="Check everything, store nothing.", examples=[True])


class FreshAdapterBody(_AdapterBody):
    """A new adapter with its method's own initial weights, the same ones for the same `seed`."""

    name: Name = Field(description="Of the new adapter.", examples=["pirate"])
    seed: int | None = Field(
        default=None, strict=True, ge=0, lt=2**63, description="Makes the weights the same each time.", examples=[1]
    )


class _UploadedBody(_AdapterBody):
    model_config = ConfigDict(extra="forbid", json_schema_extra=_or_a_checkpoint)

    weights: Annotated[bytes | Path, WithJsonSchema(dict(BINARY))] = Field(
        description="PEFT's adapter_model.safetensors, as a file part.", examples=["adapter_model.safetensors"]
    )


class UploadedVersionBody(_UploadedBody):
    """A new version of an adapter, with its own config: PEFT's two files, or one .zip with both."""

    if_changed: bool = Field(
        default=False,
        description="Store nothing where the newest version has this config and these weights already: 200, "
        "`unchanged`.",
        examples=[True],
    )


class UploadedAdapterBody(_UploadedBody):
    """A trained adapter as PEFT saved it: its two files, of any media type, or one .zip with both."""

    name: Name = Field(description="Of the new adapter.", examples=["pirate"])


Upload = TypeVar("Upload", bound=_UploadedBody)


# Each is a generator, for the file in which large weights lie is there until the endpoint is done.


async def read_new_adapter(
    request: Request, settings: TheSettings
) -> AsyncGenerator[FreshAdapterBody | UploadedAdapterBody]:
    """Raises `Refused` (400, 415), `TooLarge`, `NoRoom`, and `Invalid` with every field that is wrong."""
    if media_type_of(request, JSON, MULTIPART) == JSON:
        yield await read_json(FreshAdapterBody, request, settings.max_json_bytes)
    else:
        async with _read_upload(UploadedAdapterBody, request, settings) as body:
            yield body


async def read_new_version(request: Request, settings: TheSettings) -> AsyncGenerator[UploadedVersionBody]:
    """Raises as `read_new_adapter` does."""
    media_type_of(request, MULTIPART)
    async with _read_upload(UploadedVersionBody, request, settings) as body:
        yield body


NewAdapterBody = Annotated[FreshAdapterBody | UploadedAdapterBody, Depends(read_new_adapter)]
NewVersionBody = Annotated[UploadedVersionBody, Depends(read_new_version)]


@asynccontextmanager
async def _read_upload(schema: type[Upload], request: Request, settings: Settings) -> AsyncGenerator[Upload]:
    with temporary_room(RECEIVE):
        sent = await read_form(request, settings.max_upload_bytes)
        form = FormData([(_SPELLINGS.get(name, name), part) for name, part in sent.multi_items()])
        with ExitStack() as opened:
            try:
                _bound_fields(form, settings.max_json_bytes)
                texts = [name for name in form if name not in _FILE_PARTS]
                parts = {name: [await _content(part) for part in form.getlist(name)] for name in texts}
                faults = [*_repeated(form), *_not_a_file(form), *_beside_a_checkpoint(form)]
                parsed = sum(len(content) for contents in parts.values() for content in contents)
                fields = await _as_fields(parts, faults, json_reader_of(request))
                if isinstance(weights := form.get("weights"), UploadFile):
                    fields["weights"] = spool_of(weights).contents
                if isinstance(checkpoint := form.get("checkpoint"), UploadFile):
                    unzip = partial(
                        read_checkpoint, checkpoint.file, settings.max_json_bytes, settings.max_upload_bytes
                    )
                    unzipped = await run_in_threadpool(unzip)
                    opened.enter_context(unzipped.weights.file)
                    fields["config"] = await json_reader_of(request).read(unzipped.config)
                    fields["weights"] = unzipped.weights.contents
                yield await beside_the_loop(parsed, lambda: validate(schema, fields))
            finally:
                await form.close()


async def _as_fields(parts: Mapping[str, list[bytes]], faults: list[Fault], reader: JsonReader) -> dict[str, Any]:
    """The form as the JSON that it stands for: JSON parts as objects, `accept_unknown` as a list.

    Raises `Invalid` with `faults` and every part that can't be read.
    """
    fields: dict[str, Any] = {}
    faults = list(faults)
    for name, contents in parts.items():
        try:
            fields[name] = await _read_part(name, contents, reader)
        except Refused as refusal:
            faults.append(Fault((name,), refusal.detail))
        except UnicodeDecodeError:
            faults.append(Fault((name,), "is not UTF-8"))
    if faults:
        raise Invalid("The form has wrong fields.", faults)
    return fields


def _bound_fields(form: FormData, limit: int) -> None:
    """Raises `TooLarge` where what is read into memory, all but the files, is larger than a JSON body may be."""
    fields = [part for name, part in form.multi_items() if name not in _FILE_PARTS or isinstance(part, str)]
    size = sum((part.size or 0) if isinstance(part, UploadFile) else len(part) for part in fields)
    if size > limit:
        raise too_large(limit, MAX_JSON, "The form's fields but weights are")


async def _content(part: UploadFile | str) -> bytes:
    return await part.read() if isinstance(part, UploadFile) else part.encode()


async def _read_part(name: str, contents: list[bytes], reader: JsonReader) -> Any:
    if name in _JSON_PARTS:
        return await reader.read(contents[0])
    if name == "accept_unknown":
        return [key for content in contents for key in await _keys_in(content, reader)]
    return contents[0].decode()


async def _keys_in(content: bytes, reader: JsonReader) -> list[Any]:
    """The field may be one key, several with commas between them, or a JSON list; and it may be repeated."""
    if len(content) > _MOST_KEYS:
        raise Refused(TOO_LARGE, f"is longer than {_MOST_KEYS} bytes")
    if content.startswith(b"["):
        return cast(list[Any], await reader.read(content))
    field = content.decode()
    return [key.strip() for key in field.split(",") if key.strip()]


def _repeated(form: FormData) -> list[Fault]:
    return [
        Fault((name,), f"stands in the form {len(form.getlist(name))} times; give it once")
        for name in form
        if len(form.getlist(name)) > 1 and name != "accept_unknown"
    ]


def _not_a_file(form: FormData) -> list[Fault]:
    return [
        Fault((name,), "must be a file part: give it a filename")
        for name in _FILE_PARTS
        if isinstance(form.get(name), str)
    ]


def _beside_a_checkpoint(form: FormData) -> list[Fault]:
    if "checkpoint" not in form:
        return []
    return [Fault((name,), "is in the checkpoint already") for name in ("config", "weights") if name in form]
