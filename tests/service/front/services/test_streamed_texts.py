"""Parts of texts between a host's thread and their reader: joined while unread, none lost, silence told of."""

import asyncio
from collections.abc import Sequence

import pytest

from models_registry.errors import Unavailable
from service.front.requests import InferAnswer
from service.front.services.streamed_texts import StreamedTexts
from service.protocol.texts import DrawnToken, TextPart, WrittenText

ANSWER = InferAnswer("m", (None,), (None,), {}, 0.0, 0.0, 0.0)
END = WrittenText("stop", 1, 2)
TOKEN = DrawnToken(1, "a", -0.1)


async def begun(texts: StreamedTexts, outcome: asyncio.Future[InferAnswer]) -> None:
    async def answer() -> InferAnswer:
        return await outcome

    texts.follow(asyncio.create_task(answer()))


def test_what_is_unread_of_a_row_is_joined_and_rows_stay_apart() -> None:
    async def run() -> list[Sequence[TextPart]]:
        texts, outcome = StreamedTexts(), asyncio.get_running_loop().create_future()
        await begun(texts, outcome)
        texts.hear(TextPart(0, "a", (TOKEN,)))
        texts.hear(TextPart(1, "x", end=END))
        texts.hear(TextPart(0, "b", (TOKEN,), END))
        outcome.set_result(ANSWER)
        await texts.wait()
        return [parts async for parts in texts.parts(60)]

    assert asyncio.run(run()) == [(TextPart(0, "ab", (TOKEN, TOKEN), END), TextPart(1, "x", end=END))]


def test_silence_is_reported_and_later_parts_are_read() -> None:
    async def run() -> list[Sequence[TextPart]]:
        texts, outcome = StreamedTexts(), asyncio.get_running_loop().create_future()
        await begun(texts, outcome)
        read: list[Sequence[TextPart]] = []
        async for parts in texts.parts(0.01):
            if not parts and not outcome.done():
                await asyncio.to_thread(texts.hear, TextPart(0, "a", end=END))
                outcome.set_result(ANSWER)
            read.append(parts)
        return [parts for at, parts in enumerate(read) if parts or at == 0]

    assert asyncio.run(run()) == [(), (TextPart(0, "a", end=END),)]


def test_an_error_follows_the_parts_before_it() -> None:
    async def run() -> None:
        texts, outcome = StreamedTexts(), asyncio.get_running_loop().create_future()
        await begun(texts, outcome)
        texts.hear(TextPart(0, "a"))
        outcome.set_exception(Unavailable("away"))
        parts = texts.parts(60)
        assert await anext(parts) == (TextPart(0, "a"),)
        with pytest.raises(Unavailable):
            await anext(parts)

    asyncio.run(run())


def test_waiting_for_a_text_that_never_begins_raises_why() -> None:
    async def run() -> None:
        texts, outcome = StreamedTexts(), asyncio.get_running_loop().create_future()
        await begun(texts, outcome)
        outcome.set_exception(Unavailable("away"))
        with pytest.raises(Unavailable):
            await texts.wait()

    asyncio.run(run())
