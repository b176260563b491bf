"""Bodies as they arrive, chunk by chunk, over the bare ASGI interface: what is read, and when reading stops."""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest
from arriving import Arriving
from pydantic import RootModel
from starlette.requests import Request

from models_registry.errors import Invalid, TooLarge
from service.front.api.http.bodies import (
    JsonObject,
    media_type_of,
    read_bytes,
    read_form,
    read_json,
    validate,
)
from service.front.api.problems import Refused

FORM = "multipart/form-data; boundary=line"


def part(name: str, body: bytes, filename: str | None = None) -> bytes:
    disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")
    return f"--line\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + body + b"\r\n"


def test_a_body_up_to_the_limit_is_read_whole() -> None:
    arriving = Arriving([b"ab", b"cd"])
    assert asyncio.run(read_bytes(arriving.request, 4)) == b"abcd"


@pytest.mark.parametrize("reader", [read_bytes, partial(read_json, RootModel[Any])])
def test_reading_stops_with_the_chunk_that_passes_the_limit(
    reader: Callable[[Request, int], Coroutine[Any, Any, Any]],
) -> None:
    arriving = Arriving([b"ab", b"cd", b"ef", b"gh"], content_length="2")
    with pytest.raises(TooLarge, match="larger than 3 bytes"):
        asyncio.run(reader(arriving.request, 3))
    assert arriving.taken == 2


def test_a_length_that_is_announced_too_large_is_refused_before_anything_is_read() -> None:
    arriving = Arriving([b"ab"], content_length="4")
    with pytest.raises(TooLarge):
        asyncio.run(read_bytes(arriving.request, 3))
    assert arriving.taken == 0


def test_a_form_is_not_spooled_beyond_the_limit() -> None:
    arriving = Arriving([part("weights", b"x" * 50, "a"), b"y" * 200, b"z" * 200], content_type=FORM)
    with pytest.raises(TooLarge):
        asyncio.run(read_form(arriving.request, 200))
    assert arriving.taken == 2


def test_a_form_holds_its_files_and_fields() -> None:
    chunks = [part("name", b"tone") + part("weights", b"\x00\xff", "a.safetensors"), b"--line--\r\n"]

    async def read() -> tuple[object, object]:
        form = await read_form(Arriving(chunks, content_type=FORM).request, 1000)
        weights = form["weights"]
        assert not isinstance(weights, str)
        content = await weights.read()
        await form.close()
        return form["name"], content

    assert asyncio.run(read()) == ("tone", b"\x00\xff")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [(None, b""), ("multipart/form-data", b""), (FORM, b"no parts at all"), (FORM, b"--line\r\nbroken")],
)
def test_what_is_no_form_is_malformed(content_type: str | None, body: bytes) -> None:
    arriving = Arriving([body], content_type=content_type) if content_type else Arriving([body])
    with pytest.raises(Refused) as caught:
        asyncio.run(read_form(arriving.request, 1000))
    assert caught.value.kind.status == 400


def test_an_object_that_is_kept_holds_a_bounded_number_of_values() -> None:
    few, many = [0] * 99_999, [[]] * 100_000
    assert validate(RootModel[JsonObject], {"few": few}).root == {"few": few}
    with pytest.raises(Invalid) as caught:
        validate(RootModel[JsonObject], {"many": many})
    assert "holds more than 100000 values" in caught.value.faults[0].message


def test_a_form_that_is_cut_off_leaves_no_file_open() -> None:
    arriving = Arriving([part("weights", b"x", "a"), part("config", b"y", "b")[:-2]], content_type=FORM)
    with pytest.raises(Refused, match="closing boundary"):
        asyncio.run(read_form(arriving.request, 1000))
    gc.collect()  # a file that is left open warns, and warnings are errors


@pytest.mark.parametrize("given", ["application/json", "Application/JSON; charset=utf-8", "application/x+json"])
def test_json_is_known_by_its_media_type(given: str) -> None:
    assert media_type_of(Arriving([], content_type=given).request, "application/json") == "application/json"


def test_a_body_without_a_media_type_is_read_as_the_first_that_the_route_reads() -> None:
    assert media_type_of(Arriving([]).request, "a/a", "b/b") == "a/a"


def test_another_media_type_is_refused_with_those_that_are_read() -> None:
    with pytest.raises(Refused, match="text/plain; this route reads a/a or b/b") as caught:
        media_type_of(Arriving([], content_type="text/plain").request, "a/a", "b/b")
    assert caught.value.kind.status == 415


@pytest.mark.parametrize("part", [";", "; ", ' ;a="', ";a=b", ";a=\\", '"', ";  \t", '";'])
def test_a_media_type_that_repeats_one_part_is_read_to_an_end(part: str) -> None:
    arriving = Arriving([], content_type="a/b;" + part * 100_000)
    assert media_type_of(arriving.request, "a/b") == "a/b"
