"""Request bodies: their media types, and how JSON and forms are read and checked.

spool.py says how their bytes arrive. What the parts mean is known to the resource, not to this file.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, TypeVar

import pydantic
from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, Headers
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from models_registry.errors import Invalid
from models_registry.records import Location
from service.front.api.dependencies import json_reader_of
from service.front.api.http.json_text import MAX_VALUES
from service.front.api.http.schema_faults import schema_faults
from service.front.api.http.spool import (
    IN_MEMORY,
    MAX_JSON,
    MAX_UPLOAD,
    RECEIVE,
    announced_bytes,
    limited,
    spooled,
    temporary_room,
)
from service.front.api.problems import MALFORMED, UNSUPPORTED_MEDIA_TYPE, Refused

JSON = "application/json"
MULTIPART = "multipart/form-data"
SAFETENSORS = "application/vnd.safetensors"
OCTETS = "application/octet-stream"
"""Any bytes: what clients that are generated know instead of a file's own media type."""

PARSED = 64 * 1024
COPIED = 1 << 20
"""Bytes up to which parsing and copying take less time than handing the work to a thread and back."""
_MAX_NESTING = 64
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{1,70}")  # RFC 2046, 5.1.1

BINARY: Mapping[str, Any] = {"type": "string", "format": "binary"}
"""The schema of a body that is a file."""


def _storable(value: dict[str, Any]) -> dict[str, Any]:
    level, values = [value], 0
    for _ in range(_MAX_NESTING):
        level = [child for item in level for child in _children(item)]
        values += len(level)
    if values > MAX_VALUES:
        raise ValueError(f"holds more than {MAX_VALUES} values")
    if level:
        raise ValueError(f"is nested more than {_MAX_NESTING} levels deep")
    try:
        json.dumps(value, allow_nan=False)
    except ValueError as error:
        raise ValueError("holds a number that is too large for JSON's readers") from error
    return value


def _children(item: Any) -> Iterable[Any]:
    if isinstance(item, dict):
        return item.values()
    return item if isinstance(item, list) else ()


JsonObject = Annotated[dict[str, Any], pydantic.AfterValidator(_storable)]
"""An object that is stored as it was sent, if it can be written again: `1e999` is JSON, but it is read as infinity."""

T = TypeVar("T")
M = TypeVar("M", bound=pydantic.BaseModel)


def media_type_of(request: Request, *readable: str) -> str:
    """The body's media type, which must be one of `readable`; without a header, the first. Raises `Refused` (415)."""
    if "content-type" not in request.headers:
        return readable[0]
    media_type = parse_options_header(request.headers["content-type"])[0].decode("latin-1")
    if media_type.startswith("application/") and media_type.endswith("+json"):
        media_type = JSON
    if media_type not in readable:
        raise Refused(UNSUPPORTED_MEDIA_TYPE, f"The body is {media_type}; this route reads {' or '.join(readable)}.")
    return media_type


async def read_bytes(request: Request, limit: int, setting: str = MAX_UPLOAD) -> bytes:
    """The whole body. Raises `TooLarge` as soon as more than `limit` bytes are announced or have arrived."""
    if announced_bytes(request) <= IN_MEMORY:
        return b"".join([chunk async for chunk in limited(request, limit, setting)])
    async with spooled(request, limit, setting) as body:
        return await beside_the_loop(body.size, body.read, COPIED)


async def read_json(schema: type[M], request: Request, limit: int) -> M:
    """The body as JSON of this `schema`. Raises `Refused` (400) where it isn't JSON, `TooLarge`, `Invalid`."""
    body = await read_bytes(request, limit, MAX_JSON)
    value = await json_reader_of(request).read(body)
    return await beside_the_loop(len(body), lambda: validate(schema, value))


async def read_form(request: Request, limit: int) -> FormData:
    """The body as multipart/form-data; close it when done. Raises `Refused` (400) where it isn't, `TooLarge`."""
    _, parameters = parse_options_header(request.headers.get("content-type", ""))
    boundary = parameters.get(b"boundary", b"").decode("latin-1").rstrip()
    if not _BOUNDARY.fullmatch(boundary):
        raise Refused(MALFORMED, "The Content-Type has no legal boundary, so the multipart body can't be read.")
    # Without the caller's charset, for some of Python's decode to what can't be encoded again: a form is UTF-8.
    headers = Headers({"content-type": f'{MULTIPART}; boundary="{boundary}"'})
    parser = _FormParser(headers, limited(request, limit), max_files=16, max_fields=64)
    try:
        with temporary_room(RECEIVE):
            return await parser.parse()
    except MultiPartException as error:
        raise Refused(MALFORMED, f"The multipart body can't be read: {error.message}") from error


async def beside_the_loop(size: int, work: Callable[[], T], at_once: int = PARSED) -> T:
    """Do `work` in a thread where `size` bytes would hold up the event loop, up to `at_once` of them on the spot."""
    return work() if size <= at_once else await run_in_threadpool(work)


def validate(schema: type[M], value: Any, under: Location = ()) -> M:
    """`value` as `schema`. Raises `Invalid` with every offending place."""
    try:
        return schema.model_validate(value)
    except pydantic.ValidationError as error:
        faults, hint = schema_faults(error, schema, value, under)
        raise Invalid("The request's body has wrong or missing fields.", faults, hint=hint) from error


def reads(bodies: Mapping[str, type[pydantic.BaseModel] | Mapping[str, Any]]) -> dict[str, Any]:
    """A route's `openapi_extra`: the bodies that it reads, by media type; openapi.py gives the schemas their place."""
    content = {
        media_type: {"schema": {"$ref": f"#/components/schemas/{body.__name__}"} if isinstance(body, type) else body}
        for media_type, body in bodies.items()
    }
    return {"requestBody": {"required": True, "content": content}}


def may_read(bodies: Mapping[str, type[pydantic.BaseModel]]) -> dict[str, Any]:
    """As `reads`, for a route whose body may be left out."""
    return {"requestBody": {**reads(bodies)["requestBody"], "required": False}}


def has_body(request: Request) -> bool:
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers


class _FormParser(MultiPartParser):
    """Notices whether the closing boundary arrived; Starlette's own silently leaves out a part that was cut off."""

    spool_max_size = IN_MEMORY
    _ended = False

    def on_end(self) -> None:
        self._ended = True

    async def parse(self) -> FormData:
        form = await super().parse()
        if not self._ended:
            for file in self._files_to_close_on_error:  # the form holds those of whole parts alone
                file.close()
            raise MultiPartException("It ends before its closing boundary.")
        return form
