"""A file that a caller can cache, resume and check: strong ETag, If-None-Match, one Range (RFC 9110)."""

import hashlib
import re
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from service.api.problems import RANGE_NOT_SATISFIABLE, Refused

_ETAG = re.compile(r'(?:W/)?("[^"]*")')
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class File:
    """`digest` is the sha256 (hex) of `body`; only those who know it already may pass it."""

    body: bytes
    media_type: str
    name: str
    digest: str | None = None


def serve_file(request: Request, file: File) -> Response:
    """`file`, or the part of it that the request wants. Raises `Refused` (416) where it has no such part."""
    etag = f'"{file.digest or hashlib.sha256(file.body).hexdigest()}"'
    headers = {"ETag": etag, "Accept-Ranges": "bytes"}
    if _names(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers=headers)
    headers["Content-Disposition"] = f'attachment; filename="{file.name}"'
    wanted = request.headers.get("range", "")
    if request.headers.get("if-range", etag) != etag:
        wanted = ""
    span = _span(wanted, len(file.body))
    if span is None:
        return Response(file.body, media_type=file.media_type, headers=headers)
    headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{len(file.body)}"
    return Response(file.body[span.start : span.stop], 206, headers, file.media_type)


def _names(header: str, etag: str) -> bool:
    return header.strip() == "*" or etag in _ETAG.findall(header)


def _span(wanted: str, size: int) -> range | None:
    """The bytes that `wanted` asks for. None: all of them, also where it isn't one plain range, as RFC 9110 allows."""
    match = _RANGE.fullmatch(wanted.replace(" ", ""))
    if match is None or match[0] == "bytes=-":
        return None
    first, last = match[1], match[2]
    if first and last and int(first) > int(last):
        return None
    start = int(first) if first else max(size - int(last), 0)
    stop = min(int(last) + 1, size) if first and last else size
    if start >= size:
        raise Refused(
            RANGE_NOT_SATISFIABLE,
            f"The file has {size} bytes; {wanted} lies beyond them.",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return range(start, stop)
