"""How a body arrives: counted against the limit, and kept where many slow or large ones cost no memory.

Up to `IN_MEMORY` it stays in memory, the rest is written to a file without a name, in the system's directory for
temporary ones (`TMPDIR`). The system removes such a file with its last user, so that an upload which breaks off
leaves nothing behind, even where the process is killed.
"""

import errno
import math
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import SpooledTemporaryFile, gettempdir

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request

from models_registry.errors import NoRoom, TooLarge
from service.front.access.caller import current_caller

IN_MEMORY = 1 << 20
"""Bytes."""
UNKNOWN = math.inf

RECEIVE = "receive the body"
TEAMS_LIMIT = "adapter_service.request_bytes"
"""Where the scope has how large the bodies of the caller's team may be, if that is limited."""

MAX_UPLOAD = "ADAPTER_SERVICE_MAX_UPLOAD_BYTES"
MAX_JSON = "ADAPTER_SERVICE_MAX_JSON_BYTES"
"""The settings that limit a body, as they are named to a caller whose body is too large."""


@dataclass(frozen=True, slots=True)
class Spool:
    """A body that has arrived whole, `size` bytes of it. Its file is there as long as somebody has it open."""

    file: SpooledTemporaryFile[bytes]
    size: int

    @property
    def contents(self) -> bytes | Path:
        """The bytes, or where they can be read and mapped while the file is open."""
        if self.size <= IN_MEMORY:
            return self.read()
        self.file.flush()
        return Path(f"/dev/fd/{self.file.fileno()}")

    def read(self) -> bytes:
        self.file.seek(0)
        return self.file.read()


@asynccontextmanager
async def spooled(request: Request, limit: int, setting: str = MAX_UPLOAD) -> AsyncGenerator[Spool]:
    """The whole body. Raises `TooLarge`, naming the limit's `setting`, as soon as more than `limit` bytes are announced
    or have arrived; `NoRoom`."""
    with temporary_room(RECEIVE), SpooledTemporaryFile[bytes](IN_MEMORY) as file:
        size = 0
        async for chunk in limited(request, limit, setting):
            size += len(chunk)
            if size <= IN_MEMORY:
                file.write(chunk)
            else:
                await run_in_threadpool(file.write, chunk)
        yield Spool(file, size)


def spool_of(part: UploadFile) -> Spool:
    """A form's file, whose parser keeps it in the same way."""
    assert isinstance(part.file, SpooledTemporaryFile)
    return Spool(part.file, part.size or 0)


async def limited(request: Request, limit: int, setting: str = MAX_UPLOAD) -> AsyncGenerator[bytes]:
    """The body as it arrives. Its real bytes are counted, so that a wrong Content-Length changes nothing.

    Raises `TooLarge`.
    """
    own: int | None = request.scope.get(TEAMS_LIMIT)
    most = limit if own is None else min(own, limit)
    announced = announced_bytes(request)
    if most < announced < UNKNOWN:
        raise _refusal(most, own, setting)
    arrived = 0
    async for chunk in request.stream():
        arrived += len(chunk)
        if arrived > most:
            raise _refusal(most, own, setting)
        if chunk:
            yield chunk


def _refusal(most: int, own: int | None, setting: str) -> TooLarge:
    if most != own:
        return too_large(most, setting)
    team = current_caller().team
    return TooLarge(f"The body is larger than {own} bytes, the limit `request_bytes` of the team {team!r}.")


def announced_bytes(request: Request) -> float:
    """The Content-Length; `UNKNOWN` where there is none that is a number."""
    announced = request.headers.get("content-length", "")[:20]  # more digits than any limit has
    return int(announced) if announced.isdecimal() else UNKNOWN


@contextmanager
def temporary_room(purpose: str) -> Generator[None]:
    """Raises `NoRoom` where the disk for temporary files is full.

    Goes around the file's own `with`: closing one writes what is buffered, and may be the first to find no room.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise
        raise NoRoom(f"There is no room in {gettempdir()} to {purpose}; nothing changed.") from error


def too_large(limit: int, setting: str, what: str = "The body is") -> TooLarge:
    return TooLarge(f"{what} larger than {limit} bytes, the service's limit ({setting}).")
