"""Files that can be cached and resumed: what each conditional and each Range gets."""

import hashlib

import pytest
from starlette.requests import Request

from service.api.files import File, serve_file
from service.api.problems import Refused

BODY = b"0123456789"
ETAG = f'"{hashlib.sha256(BODY).hexdigest()}"'


def asking(**headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "headers": raw})


def test_a_file_comes_whole_with_the_sha256_of_its_body_as_etag() -> None:
    response = serve_file(asking(), File(BODY, "application/zip", "a.zip"))
    assert (response.status_code, response.body) == (200, BODY)
    assert response.headers["etag"] == ETAG
    assert response.headers["content-type"] == "application/zip"
    assert response.headers["content-disposition"] == 'attachment; filename="a.zip"'
    assert response.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize("known", [ETAG, f"W/{ETAG}", f'"other", {ETAG}', "*"])
def test_a_caller_who_has_it_gets_no_body(known: str) -> None:
    response = serve_file(asking(if_none_match=known), File(BODY, "a/a", "a"))
    assert (response.status_code, response.body) == (304, b"")
    assert response.headers["etag"] == ETAG


def test_a_caller_who_has_another_one_gets_it() -> None:
    assert serve_file(asking(if_none_match='"other"'), File(BODY, "a/a", "a")).status_code == 200


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
def test_a_range_gets_its_part(wanted: str, part: bytes, span: str) -> None:
    response = serve_file(asking(range=wanted), File(BODY, "a/a", "a"))
    assert (response.status_code, response.body) == (206, part)
    assert response.headers["content-range"] == f"bytes {span}/10"
    assert response.headers["content-length"] == str(len(part))
    assert response.headers["etag"] == ETAG


@pytest.mark.parametrize("wanted", ["bytes=10-", "bytes=99-100", "bytes=-0"])
def test_a_range_beyond_the_end_is_refused_with_the_size(wanted: str) -> None:
    with pytest.raises(Refused) as caught:
        serve_file(asking(range=wanted), File(BODY, "a/a", "a"))
    assert caught.value.kind.status == 416
    assert caught.value.headers == {"Content-Range": "bytes */10"}


@pytest.mark.parametrize("wanted", ["bytes=0-1,4-5", "bytes=5-2", "bytes=-", "lines=1-2", "bytes=a-b"])
def test_a_range_that_is_not_one_plain_range_is_passed_over(wanted: str) -> None:
    assert serve_file(asking(range=wanted), File(BODY, "a/a", "a")).status_code == 200


def test_a_range_of_another_file_gets_the_whole_new_one() -> None:
    assert serve_file(asking(range="bytes=0-3", if_range='"other"'), File(BODY, "a/a", "a")).status_code == 200
    assert serve_file(asking(range="bytes=0-3", if_range=ETAG), File(BODY, "a/a", "a")).status_code == 206
