"""An adapter version's files: its state dict, its config, and both as a PEFT checkpoint."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel

from models_registry.errors import NotFound
from models_registry.references import named_by, pick_version, short_name
from service.front.api.adapter_answers import CreatedAnswer, show_created, show_new_version
from service.front.api.dependencies import (
    NAME_PATTERN,
    AdapterName,
    Reason,
    TheEngine,
    TheSettings,
    VersionNumber,
    json_reader_of,
)
from service.front.api.http.accepted import accepts
from service.front.api.http.archive import as_peft, peft_config, zip_checkpoint
from service.front.api.http.bodies import BINARY, OCTETS, SAFETENSORS, JsonObject, media_type_of, reads, validate
from service.front.api.http.files import Download, File, serve_file, unchanged
from service.front.api.http.preconditions import IfMatch
from service.front.api.http.spool import spooled
from service.front.api.problems import MALFORMED, Refused, documented
from service.front.requests import NewVersion

router = APIRouter(tags=["adapters"])

ZIP = "application/zip"
PRESIGNED_S = 900
"""How long the store's own URL is good for, in seconds."""
PRESIGN = (
    "Answer 307 with a URL of the blob store's own, good for 15 minutes, where it has such; its bytes aren't checked. "
    "What is known to be damaged has none."
)


def _file_responses(media_type: str) -> dict[int | str, dict[str, Any]]:
    content = {name: {"schema": BINARY} for name in (media_type, OCTETS)}
    return {
        200: {"description": "The file", "content": content},
        206: {"description": "The part of it that Range asks for", "content": content},
        304: {"description": "The caller has it already (If-None-Match)"},
        **documented(400, 404, 416, 507),
    }


def _preferred(request: Request, media_type: str) -> str:
    """The file's own type, unless only that of any bytes is accepted, which every generated client understands."""
    return OCTETS if accepts(request, OCTETS) and not accepts(request, media_type) else media_type


def _reference(
    name: AdapterName,
    version: Annotated[VersionNumber | None, Query(description="This version, not the newest.", examples=[3])] = None,
    alias: Annotated[
        str | None, Query(pattern=NAME_PATTERN, description="The version that it names.", examples=["prod"])
    ] = None,
) -> str:
    if version is not None and alias is not None:
        raise Refused(MALFORMED, "Give version or alias, not both.")
    if alias is not None and alias.isdecimal():
        raise NotFound(f"The adapter {name} has no alias {alias}; an alias is never all digits.")
    selector = alias if version is None else str(version)
    return name if selector is None else f"{name}@{selector}"


ReferenceQuery = Annotated[str, Depends(_reference)]


async def _read_state(request: Request, settings: TheSettings) -> AsyncGenerator[bytes | Path]:
    media_type_of(request, SAFETENSORS, OCTETS)
    async with spooled(request, settings.max_upload_bytes) as body:
        yield body.contents


class _Metadata(BaseModel):
    metadata: JsonObject


async def _read_metadata(
    request: Request,
    metadata: Annotated[
        str | None,
        Query(
            description="A JSON object of the caller's own, kept and shown with the version.",
            examples=['{"run": "2026-11-28"}'],
        ),
    ] = None,
) -> Mapping[str, Any] | None:
    if metadata is None:
        return None
    return validate(_Metadata, {"metadata": await json_reader_of(request).read(metadata.encode())}).metadata


@dataclass(frozen=True, slots=True)
class _HowToPut:
    force: Annotated[
        bool, Query(description="A new version also where the newest has these weights already.", examples=[True])
    ] = False
    dry_run: Annotated[bool, Query(description="Check everything, store nothing.", examples=[True])] = False


_STATE_RESPONSES = {**_file_responses(SAFETENSORS), 307: {"description": "Where the blob store itself gives it"}}


@router.head("/adapters/{name}/state", name="head_state", response_class=Response, responses=_STATE_RESPONSES)
@router.get("/adapters/{name}/state", response_class=Response, responses=_STATE_RESPONSES)
def get_state(
    reference: ReferenceQuery,
    engine: TheEngine,
    request: Request,
    keys: Annotated[
        Literal["peft"] | None,
        Query(description="`peft`: keys as in PEFT's adapter_model.safetensors.", examples=["peft"]),
    ] = None,
    presign: Annotated[bool, Query(description=PRESIGN, examples=[True])] = False,
) -> Response:
    """The state dict as safetensors, with the keys of the injected model."""
    version = engine.adapters.find_version(reference)
    if keys == "peft":
        file = as_peft(engine.adapters.open_state(version))
        return serve_file(request, Download(file, _preferred(request, SAFETENSORS), "adapter_model.safetensors"))
    if (answer := unchanged(request, version.digest)) is not None:
        return answer
    # Such a URL is signed for a GET alone, and leads past the check by which damaged bytes are never served.
    signed = presign and request.method == "GET" and not version.damaged
    if signed and (url := engine.adapters.presign_state(version, PRESIGNED_S)) is not None:
        return RedirectResponse(url, headers={"ETag": f'"{version.digest}"', "Cache-Control": "no-store"})
    file = File.of(engine.adapters.open_state(version))
    return serve_file(
        request,
        Download(
            file, _preferred(request, SAFETENSORS), f"{short_name(version.reference)}.safetensors", version.digest
        ),
    )


@router.put(
    "/adapters/{name}/state",
    status_code=201,
    responses={
        200: {
            "model": CreatedAnswer,
            "description": "The newest version, which has these weights already, or what would be stored without "
            "`dry_run`",
        },
        **documented(400, 404, 409, 412, 413, 415, 422, 507),
    },
    openapi_extra=reads({SAFETENSORS: BINARY, OCTETS: BINARY}),
    dependencies=[Reason],
)
def put_state(
    name: AdapterName,
    if_match: IfMatch,
    metadata: Annotated[Mapping[str, Any] | None, Depends(_read_metadata)],
    weights: Annotated[bytes | Path, Depends(_read_state)],
    engine: TheEngine,
    response: Response,
    how: Annotated[_HowToPut, Depends(_HowToPut)],
) -> CreatedAnswer:
    """A new version with other weights and the newest version's config: 201. Weights equal to the newest version's
    are 200 with that version and `unchanged: true`, unless `force` is given. With `dry_run` all of it is only checked:
    200, with the version as it would be."""
    new = NewVersion(weights, metadata=metadata)
    if how.dry_run:
        response.status_code = 200
        return show_created(engine.adapters.check_version(name, new, if_match=if_match, force=how.force))
    put = engine.adapters.add_version if how.force else engine.adapters.add_if_changed
    created = put(name, new, if_match=if_match)
    response.status_code = 200 if created.unchanged else 201
    return show_new_version(created, response)


@router.get("/adapters/{name}/config", responses=documented(400, 404))
def get_config(reference: ReferenceQuery, engine: TheEngine) -> dict[str, Any]:
    """adapter_config.json, as PEFT reads it."""
    adapter = engine.adapters.find(named_by(reference)).adapter
    return peft_config(pick_version(adapter, reference))


@router.get("/adapters/{name}/checkpoint", response_class=Response, responses=_file_responses(ZIP))
def get_checkpoint(reference: ReferenceQuery, engine: TheEngine, request: Request) -> Response:
    """A .zip with PEFT's two files at its root, which `PeftModel.from_pretrained` loads after unzipping."""
    version = engine.adapters.find_version(reference)
    with engine.adapters.open_state(version) as state:
        archive = zip_checkpoint(peft_config(version), state)
    return serve_file(request, Download(archive, _preferred(request, ZIP), f"{short_name(version.reference)}.zip"))
