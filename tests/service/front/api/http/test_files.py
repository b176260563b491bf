"""Files that can be cached and resumed: what each conditional and each Range gets."""

import asyncio
import hashlib
import threading
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from service.front.api.http.files import BLOCK, Download, File, serve_file
from service.front.api.problems import Refused

BODY = b"0123456789"
ETAG = f'"{hashlib.sha256(BODY).hexdigest()}"'


def asking(method: str = "GET", **headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": method, "headers": raw, "asgi": {"spec_version": "2.3"}})


@pytest.fixture
def file(tmp_path: Path) -> File:
    return stored(tmp_path, BODY)


def stored(directory: Path, body: bytes, head: bytes = b"", start: int = 0) -> File:
    path = directory / "stored"
    path.write_bytes(body)
    return File.of(path.open("rb"), head, start)


def as_zip(file: File) -> Download:
    return Download(file, "application/zip", "a.zip")


def sent(response: Response, leave_after: int | None = None) -> bytes:
    """What a caller gets, who leaves after so many blocks."""
    got: list[bytes] = []
    left = asyncio.Event()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            got.append(message["body"])
        if len(got) == leave_after:
            left.set()
            await asyncio.Event().wait()  # nobody takes the next one

    async def receive() -> Message:
        await left.wait()
        return {"type": "http.disconnect"}

    asyncio.run(response(asking().scope, receive, send))
    return b"".join(got)


def test_a_file_is_sent_whole_with_the_sha256_of_its_body_as_etag(file: File) -> None:
    response = serve_file(asking(), as_zip(file))
    assert (response.status_code, response.body) == (200, BODY)
    assert response.headers["etag"] == ETAG
    assert response.headers["content-type"] == "application/zip"
    assert response.headers["content-disposition"] == 'attachment; filename="a.zip"'
    assert response.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize("known", [ETAG, f"W/{ETAG}", f'"other", {ETAG}', "*"])
def test_a_caller_who_has_it_gets_no_body(known: str, file: File) -> None:
    response = serve_file(asking(if_none_match=known), as_zip(file))
    assert (response.status_code, response.body) == (304, b"")
    assert response.headers["etag"] == ETAG


def test_a_caller_who_has_another_one_gets_it(file: File) -> None:
    assert serve_file(asking(if_none_match='"other"'), as_zip(file)).status_code == 200


@pytest.mark.parametrize(
    ("wanted", "part", "span"),
    [
        ("bytes=0-3", b"0123", "0-3"),
        ("bytes=4-", b"456789", "4-9"),
        ("bytes=-3", b"789", "7-9"),
        ("bytes=-99", BODY, "0-9"),
        ("bytes=8-99", b"89", "8-9"),
        ("bytes=9-9", b"9", "9-9"),
    ],
)
def test_a_range_gets_its_part(wanted: str, part: bytes, span: str, file: File) -> None:
    response = serve_file(asking(range=wanted), as_zip(file))
    assert (response.status_code, response.body) == (206, part)
    assert response.headers["content-range"] == f"bytes {span}/10"
    assert response.headers["content-length"] == str(len(part))
    assert response.headers["etag"] == ETAG


@pytest.mark.parametrize("wanted", ["bytes=10-", "bytes=99-100", "bytes=-0"])
def test_a_range_beyond_the_end_is_refused_with_the_size(wanted: str, file: File) -> None:
    with pytest.raises(Refused) as caught:
        serve_file(asking(range=wanted), as_zip(file))
    assert caught.value.kind.status == 416
    assert caught.value.headers == {"Content-Range": "bytes */10"}


@pytest.mark.parametrize("wanted", ["bytes=0-1,4-5", "bytes=5-2", "bytes=-", "lines=1-2", "bytes=a-b"])
def test_a_range_that_is_not_one_plain_range_is_passed_over(wanted: str, file: File) -> None:
    assert serve_file(asking(range=wanted), as_zip(file)).status_code == 200


@pytest.mark.parametrize(("known", "status"), [('"other"', 200), (ETAG, 206)])
def test_a_range_of_another_file_gets_the_whole_new_one(known: str, status: int, file: File) -> None:
    assert serve_file(asking(range="bytes=0-3", if_range=known), as_zip(file)).status_code == status


def test_a_head_has_the_length_and_no_body(file: File) -> None:
    response = serve_file(asking("HEAD"), as_zip(file))
    assert (response.body, response.headers["content-length"]) == (b"", "10")
    assert file.file.closed


LARGE = bytes(range(256)) * (BLOCK // 100)


@pytest.mark.parametrize(("wanted", "expected"), [("", LARGE), (f"bytes=7-{BLOCK + 7}", LARGE[7 : BLOCK + 8])])
def test_a_large_file_is_sent_in_blocks_that_are_read_beside_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str, expected: bytes
) -> None:
    file, readers = stored(tmp_path, LARGE), list[int]()
    response = serve_file(asking(range=wanted), Download(file, "a/a", "a", "digest"))
    read = File.read

    def watched(self: File, span: range) -> bytes:
        readers.append(threading.get_ident())
        assert len(span) <= BLOCK
        return read(self, span)

    monkeypatch.setattr(File, "read", watched)
    assert sent(response) == expected
    assert response.headers["content-length"] == str(len(expected))
    assert len(readers) > 1
    assert threading.get_ident() not in readers
    assert file.file.closed


def test_who_stops_reading_and_leaves_lets_go_of_the_file(tmp_path: Path) -> None:
    file = stored(tmp_path, LARGE)
    assert sent(serve_file(asking(), Download(file, "a/a", "a", "digest")), leave_after=1) == LARGE[:BLOCK]
    assert file.file.closed


@pytest.mark.parametrize("span", [range(4), range(2, 3), range(3, 9), range(5, 6), range(9)])
def test_a_file_with_another_head_is_read_as_one(tmp_path: Path, span: range) -> None:
    file = stored(tmp_path, b"old:6789", b"01234", start=4)
    whole = b"012346789"
    assert file.size == len(whole)
    assert file.read(span) == whole[span.start : span.stop]
    assert file.digest() == hashlib.sha256(whole).hexdigest()
    file.file.close()


def test_a_file_that_becomes_shorter_is_not_made_up(tmp_path: Path) -> None:
    file: Any = stored(tmp_path, LARGE)
    (tmp_path / "stored").write_bytes(b"short")
    with pytest.raises(OSError, match="too early"):
        sent(serve_file(asking(), Download(file, "a/a", "a", "digest")))
    assert file.file.closed
