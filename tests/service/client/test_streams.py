"""Texts while they are written, by both clients."""

import asyncio
from collections.abc import Iterator

import pytest
from apps import RANDOM_LORA
from scripted_texts import ENDED, Call, Script, scripted

from models_registry.errors import NoRoom
from service.client import AsyncClient, Client, Invalid, NotFound, ProblemError, TextEnd, TextPiece
from service.client.streams import Written


@pytest.fixture(scope="module")
def tone(client: Client) -> str:
    return client.adapters.create("stream-tone", RANDOM_LORA, model="mlp", seed=1).name


@pytest.fixture
def script() -> Iterator[Script]:
    with scripted() as script:
        yield script


def write_both(call: Call) -> None:
    call.write("Yo ", row=0)
    call.write("Aye", row=1, end=ENDED)
    call.write("ho!", row=0, end=ENDED)
    call.finish("Yo ho!", "Aye")


def test_pieces_are_read_as_they_are_written(client: Client, tone: str, script: Script) -> None:
    script.act = write_both
    written = list(client.stream("mlp", ["a", "b"], adapter=[tone, None], max_new_tokens=8))
    pieces = [
        "".join(piece.text for piece in written if isinstance(piece, TextPiece) and piece.row == row) for row in (0, 1)
    ]
    assert pieces == ["Yo ho!", "Aye"]
    ends = {end.row: (end.text, end.adapter, end.finish_reason) for end in written if isinstance(end, TextEnd)}
    assert ends == {0: ("Yo ho!", f"{tone}@1", "stop"), 1: ("Aye", None, "stop")}


def test_the_client_for_asyncio_streams_too(client: Client, address: str, script: Script) -> None:
    script.act = write_both

    async def read() -> list[Written]:
        async with AsyncClient(address) as own:
            return [written async for written in own.stream("mlp", ["a", "b"])]

    ends = [written.text for written in asyncio.run(read()) if isinstance(written, TextEnd)]
    assert sorted(ends) == ["Aye", "Yo ho!"]


def test_what_is_wrong_is_raised_before_the_first_piece(client: Client) -> None:
    with pytest.raises(NotFound, match="nobody"):
        next(client.stream("mlp", ["a"], adapter="nobody"))
    with pytest.raises(Invalid):
        next(client.stream("mlp", ["a"], max_new_tokens=-1))


def test_a_stream_that_breaks_raises_after_its_pieces(client: Client, script: Script) -> None:
    def break_off(call: Call) -> None:
        call.write("Yo ")
        call.fail(NoRoom("There is no memory left."))

    script.act = break_off
    stream = client.stream("mlp", ["a"])
    assert next(stream) == TextPiece(0, "Yo ")
    with pytest.raises(ProblemError, match="There is no memory left"):
        next(stream)


def test_leaving_a_stream_cancels_its_text(client: Client, script: Script) -> None:
    script.act = lambda call: call.write("Yo ")
    stream = client.stream("mlp", ["a"])
    assert next(stream) == TextPiece(0, "Yo ")
    stream.close()  # pyright: ignore[reportAttributeAccessIssue] - an iterator that is a generator
    assert script.calls[0].cancelled.wait(60)
