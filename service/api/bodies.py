"""Request bodies: their media types, and how JSON and forms are read and checked.

How their bytes arrive is told in spool.py; what the parts mean is the resource's business, not this file's.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, NoReturn, TypeVar

import orjson
import pydantic
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, Headers
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from models_registry.errors import Invalid
from models_registry.records import Location
from service.api.media_types import parse_media_type
from service.api.problems import MALFORMED, UNSUPPORTED_MEDIA_TYPE, Refused
from service.api.schema_faults import schema_faults
from service.api.spool import IN_MEMORY, MAX_JSON, MAX_UPLOAD, RECEIVE, limited, spooled, temporary_room

JSON = "application/json"
MULTIPART = "multipart/form-data"
SAFETENSORS = "application/vnd.safetensors"

PARSED = 64 * 1024
COPIED = 1 << 20
"""Bytes up to which parsing and copying take less time than handing the work to a thread and back."""
_MAX_NESTING = 64
_MAX_VALUES = 100_000
"""How many values an object that is kept may hold: what is done with each of them costs more than reading it."""
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{1,70}")  # RFC 2046, 5.1.1
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_CONTAINERS = frozenset({dict, list})
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")

BINARY: Mapping[str, Any] = {"type": "string", "format": "binary"}
"""The schema of a body that is a file."""


def _storable(value: dict[str, Any]) -> dict[str, Any]:
    level, values = [value], 0
    for _ in range(_MAX_NESTING):
        level = [child for item in level for child in _children(item)]
        values += len(level)
    if values > _MAX_VALUES:
        raise ValueError(f"holds more than {_MAX_VALUES} values")
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
"""An object that is kept as it came, if it can be written again: `1e999` is JSON, but it is read as infinity."""

T = TypeVar("T")
M = TypeVar("M", bound=pydantic.BaseModel)


def media_type_of(request: Request, *readable: str) -> str:
    """The body's media type, which must be one of `readable`; without a header, the first. Raises `Refused` (415)."""
    if "content-type" not in request.headers:
        return readable[0]
    media_type = parse_media_type(request.headers["content-type"]).name
    if media_type.startswith("application/") and media_type.endswith("+json"):
        media_type = JSON
    if media_type not in readable:
        raise Refused(UNSUPPORTED_MEDIA_TYPE, f"The body is {media_type}; this route reads {' or '.join(readable)}.")
    return media_type


async def read_bytes(request: Request, limit: int, setting: str = MAX_UPLOAD) -> bytes:
    """The whole body. Raises `TooLarge` as soon as more than `limit` bytes are announced or have arrived."""
    async with spooled(request, limit, setting) as body:
        return await beside_the_loop(body.size, body.read, COPIED)


async def read_json(schema: type[M], request: Request, limit: int) -> M:
    """The body as JSON of this `schema`. Raises `Refused` (400) where it isn't JSON, `TooLarge`, `Invalid`."""
    body = await read_bytes(request, limit, MAX_JSON)
    return await beside_the_loop(len(body), lambda: validate(schema, parse_json(body)))


async def read_form(request: Request, limit: int) -> FormData:
    """The body as multipart/form-data; close it when done. Raises `Refused` (400) where it isn't, `TooLarge`."""
    boundary = parse_media_type(request.headers.get("content-type", "")).parameters.get("boundary", "").rstrip()
    if not _BOUNDARY.fullmatch(boundary):
        raise Refused(MALFORMED, "The Content-Type has no legal boundary, so the multipart body can't be read.")
    # Without the caller's charset, for some of Python's decode to what can't be encoded again: a form is UTF-8.
    headers = Headers({"content-type": f'{MULTIPART}; boundary="{boundary}"'})
    parser = _FormParser(headers, limited(request, limit), max_files=16, max_fields=64)
    try:
        with temporary_room(RECEIVE):
            form = await parser.parse()
    except MultiPartException as error:
        raise Refused(MALFORMED, f"The multipart body can't be read: {error.message}") from error
    if not parser.ended:
        await form.close()
        raise Refused(MALFORMED, "The multipart body ends before its closing boundary.")
    return form


async def beside_the_loop(size: int, work: Callable[[], T], at_once: int = PARSED) -> T:
    """Do `work` in a thread where `size` bytes would hold up the event loop, up to `at_once` of them on the spot."""
    return work() if size <= at_once else await run_in_threadpool(work)


def parse_json(body: bytes) -> Any:
    """Strict JSON in UTF-8: no bare NaN, no half of a surrogate pair, no key twice in one object, which readers take
    for different things (RFC 8259, 4). Raises `Refused` (400)."""
    try:
        text = body.decode("utf-8-sig")
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_object_of)
        if _ESCAPED_SURROGATE.search(body):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise Refused(MALFORMED, "The JSON is nested too deeply to be read.") from error
    except UnicodeEncodeError as error:
        raise Refused(MALFORMED, "The JSON holds half of a surrogate pair, which is no character.") from error
    except UnicodeDecodeError as error:
        raise Refused(MALFORMED, f"The JSON is not UTF-8: {error.reason} at byte {error.start}.") from error
    except _RepeatedKey as error:
        raise Refused(MALFORMED, f"The JSON has the key {error} more than once in one object; give it once.") from error
    except ValueError as error:
        raise Refused(MALFORMED, f"The body is not JSON: {error}.") from error
    return value


def parse_tensors(body: bytes) -> Any:
    """As `parse_json`, many times as fast, and not for what is kept: a whole number beyond 64 bits becomes a float."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return parse_json(body)  # which takes a byte order mark, and has words for what is wrong
    # Of a key that comes twice only one is left, and outside of strings a colon stands behind every key alone.
    return value if _STRING.sub(b"", body).count(b":") == _count_keys(value) else parse_json(body)


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


class _FormParser(MultiPartParser):
    """Notices whether the closing boundary came; Starlette's own silently leaves out a part that was cut off."""

    spool_max_size = IN_MEMORY
    ended = False

    def on_end(self) -> None:
        self.ended = True


class _RepeatedKey(ValueError):
    """The key, as JSON writes it."""


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _RepeatedKey(json.dumps(next(key for key in value if keys.count(key) > 1)))
    return value


def _count_keys(value: Any) -> int:
    """In all of its objects. Works level by level, in C's loops for what holds neither lists nor objects."""
    level, keys = [value], 0
    while level:
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                keys += len(item)
                below += item.values()
            elif isinstance(item, list) and not _CONTAINERS.isdisjoint(map(type, item)):
                below += item
        level = below
    return keys


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f'{constant} is not JSON; in tensors, write it as a string: "{constant}"')
