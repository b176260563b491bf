"""Where bodies are kept while they arrive, over the bare ASGI interface."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from tempfile import SpooledTemporaryFile, TemporaryFile
from typing import Any

import pytest
import torch
from arriving import Arriving
from disks import files_of_at_most
from open_files import open_files
from pydantic import ByteSize
from safetensors.torch import save
from starlette.requests import ClientDisconnect, Request

from models_registry.errors import NoRoom
from models_registry.safetensors_files import read_safetensors
from service.front.api.http.archive import zip_checkpoint
from service.front.api.http.bodies import read_bytes, read_form
from service.front.api.http.spool import IN_MEMORY, spooled
from service.front.api.http.uploads import read_new_version
from service.settings import Settings

LIMIT = 8 * IN_MEMORY
FORM = "multipart/form-data; boundary=line"
PART = b'--line\r\nContent-Disposition: form-data; name="weights"; filename="w"\r\n\r\n'
CHUNK = bytes(IN_MEMORY)

Reader = Callable[[Request, int], Coroutine[Any, Any, Any]]


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_small_body_opens_no_file() -> None:
    async def read() -> bytes | Path:
        before = open_files()
        async with spooled(Arriving([b"ab", b"cd"]).request, LIMIT) as body:
            assert open_files() <= before
            return body.contents

    assert asyncio.run(read()) == b"abcd"


def test_a_large_body_lies_in_a_file_without_a_name_and_outlives_it_where_it_is_mapped(directory: Path) -> None:
    tensor = torch.arange(IN_MEMORY, dtype=torch.float32)
    sent = save({"x": tensor})
    chunks = [sent[start : start + 100_000] for start in range(0, len(sent), 100_000)]

    async def read() -> torch.Tensor:
        async with spooled(Arriving(chunks).request, LIMIT) as body:
            assert isinstance(body.contents, Path)
            assert not list(directory.iterdir())
            assert body.size == len(sent)
            return read_safetensors(body.contents)["x"]

    assert torch.equal(asyncio.run(read()), tensor)


def test_large_chunks_are_written_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    writers: list[int] = []

    class Watched(SpooledTemporaryFile[bytes]):
        def write(self, s: Any) -> int:
            writers.append(threading.get_ident())
            return super().write(s)

    monkeypatch.setattr("service.front.api.http.spool.SpooledTemporaryFile", Watched)
    assert len(asyncio.run(read_bytes(Arriving([b"a", CHUNK, CHUNK]).request, LIMIT))) == 2 * IN_MEMORY + 1
    assert [writer == threading.get_ident() for writer in writers] == [True, False, False]


@pytest.mark.parametrize(("reader", "start"), [(read_bytes, b""), (read_form, PART)])
def test_who_leaves_in_the_middle_leaves_nothing_behind(reader: Reader, start: bytes, directory: Path) -> None:
    before = open_files()
    with pytest.raises(ClientDisconnect):
        asyncio.run(reader(Arriving([start, CHUNK, CHUNK], leaves=True, content_type=FORM).request, LIMIT))
    assert open_files() <= before
    assert not list(directory.iterdir())


async def read_upload(request: Request, limit: int) -> None:
    async for _ in read_new_version(request, Settings(max_upload_bytes=ByteSize(limit))):
        pass


@pytest.mark.parametrize(("reader", "start"), [(read_bytes, b""), (read_form, PART), (read_upload, PART)])
@pytest.mark.parametrize("chunks", [[CHUNK, CHUNK], [bytes(1000)] * 1100], ids=["large", "small"])
@pytest.mark.parametrize("room", [0, IN_MEMORY + 2000])
def test_a_disk_without_room_for_a_body_is_said_to_be_full(
    reader: Reader, start: bytes, chunks: list[bytes], room: int, directory: Path
) -> None:
    before = open_files()
    with files_of_at_most(room), pytest.raises(NoRoom, match=str(directory)):
        asyncio.run(reader(Arriving([start, *chunks, b"\r\n--line--\r\n"], content_type=FORM).request, LIMIT))
    assert open_files() <= before


@pytest.mark.parametrize(("reader", "start"), [(read_bytes, b""), (read_upload, PART)])
def test_a_disk_without_room_for_the_last_bytes_is_said_to_be_full(
    reader: Reader, start: bytes, directory: Path
) -> None:
    chunks = [start, *[bytes(1000)] * 1100, b"\r\n--line--\r\n"]
    with files_of_at_most(1_099_500), pytest.raises(NoRoom, match=str(directory)):
        asyncio.run(reader(Arriving(chunks, content_type=FORM).request, LIMIT))


def test_a_disk_without_room_for_a_zip_is_said_to_be_full(directory: Path) -> None:
    with TemporaryFile() as state:
        state.write(save({"x": torch.ones(3)}))
        state.seek(0)
        with files_of_at_most(10), pytest.raises(NoRoom, match=f"{directory} to make the .zip"):
            zip_checkpoint({"peft_type": "LORA"}, state)
