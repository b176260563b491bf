"""A file that a caller can cache, resume and check: strong ETag, If-None-Match, one Range (RFC 9110).

It is read from the disk as fast as its caller takes it, a block at a time: slow readers hold no memory and no thread.
"""

import os
import re
from collections.abc import AsyncGenerator
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from typing import BinaryIO

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from service.front.api.problems import RANGE_NOT_SATISFIABLE, Refused

BLOCK = 256 * 1024
"""Bytes."""

# Ranges are read here, because Werkzeug finds none in the last 1000 bytes of a shorter file (`bytes=-1000`), and
# Starlette's reader is private to responses that open a path. RFC 9110, 14.1.2.
_ETAG = re.compile(r'(?:W/)?("[^"]*")')
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class File:
    """What is sent: `head`, then all that stands in `file` from `start` on. `size` is that of both."""

    file: BinaryIO
    size: int
    head: bytes = b""
    start: int = 0

    @classmethod
    def of(cls, file: BinaryIO, head: bytes = b"", start: int = 0) -> "File":
        """Raises `OSError` unless it is a file of the operating system's."""
        return cls(file, len(head) + os.fstat(file.fileno()).st_size - start, head, start)

    def read(self, span: range) -> bytes:
        """These bytes. Raises `OSError` where somebody has made the file shorter."""
        head = self.head[span.start : span.stop]
        place = self.start + max(span.start - len(self.head), 0)
        read = head + os.pread(self.file.fileno(), len(span) - len(head), place)
        if len(read) < len(span):
            raise OSError(f"The file ends {len(span) - len(read)} bytes too early.")
        return read

    def digest(self) -> str:
        """sha256, hex."""
        found = sha256()
        for block in blocks(range(self.size)):
            found.update(self.read(block))
        return found.hexdigest()


def blocks(span: range) -> list[range]:
    return [span[start : start + BLOCK] for start in range(0, len(span), BLOCK)]


@dataclass(frozen=True, slots=True)
class Download:
    """A file under a name. `digest` is the sha256 (hex) of what is sent; only those who know it already may pass it."""

    file: File
    media_type: str
    name: str
    digest: str | None = None


def unchanged(request: Request, digest: str) -> Response | None:
    """The answer to a caller who has the file of that digest already."""
    etag = f'"{digest}"'
    if not _names(request.headers.get("if-none-match", ""), etag):
        return None
    return Response(status_code=304, headers={"ETag": etag, "Accept-Ranges": "bytes"})


def serve_file(request: Request, download: Download) -> Response:
    """`download`, or the part of it that the request wants; its file is closed afterwards. Raises `Refused` (416) where
    it has no such part."""
    with ExitStack() as opened:
        file = download.file
        opened.enter_context(file.file)
        digest = download.digest or file.digest()
        if (answer := unchanged(request, digest)) is not None:
            return answer
        etag = f'"{digest}"'
        disposition = f'attachment; filename="{download.name}"'
        headers = {"ETag": etag, "Accept-Ranges": "bytes", "Content-Disposition": disposition}
        same = request.headers.get("if-range", etag) == etag
        wanted = _span(request.headers.get("range", "") if same else "", file.size)
        span = range(file.size) if wanted is None else wanted
        if wanted is not None:
            headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{file.size}"
        headers["Content-Length"] = str(len(span))
        status = 200 if wanted is None else 206
        if request.method == "HEAD":
            return Response(b"", status, headers, download.media_type)
        if len(span) <= BLOCK:
            return Response(file.read(span), status, headers, download.media_type)
        opened.pop_all()  # the stream closes it
        return StreamingResponse(_stream(file, span), status, headers, download.media_type)


async def _stream(file: File, span: range) -> AsyncGenerator[bytes]:
    with file.file:
        for block in blocks(span):
            yield await run_in_threadpool(file.read, block)


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
