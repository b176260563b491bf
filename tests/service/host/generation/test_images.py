"""Chats with images, for a vision-language model."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engines import TIMEOUT_S
from tiny_llava import picture, save_processor
from writing import WritingHost

from models_registry.base_models import images
from models_registry.errors import Conflict, Invalid
from models_registry.inputs.chats import decode_chats
from models_registry.inputs.values import Inputs


@pytest.fixture
def writing(tmp_path: Path) -> Iterator[WritingHost]:
    tokenizer, model = save_processor(tmp_path / "model")
    writing = WritingHost(tmp_path, tokenizer=tokenizer, model=model, task="image-text-to-text")
    yield writing
    writing.host.end(Conflict("the test is over"))


def chat(text: str, *urls: str) -> list[dict[str, Any]]:
    shown = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [{"role": "user", "content": [*shown, {"type": "text", "text": text}]}]


def written(writing: WritingHost, *chats: list[dict[str, Any]]) -> tuple[str, ...]:
    asked = Inputs(chats=decode_chats(list(chats), ("inputs", "messages")))
    texts = writing.ask_with(asked, max_new_tokens=6, min_new_tokens=6).result(TIMEOUT_S).outputs["text"]
    assert isinstance(texts, tuple)
    return texts


def test_a_text_follows_from_its_image_whatever_is_beside_it(writing: WritingHost) -> None:
    red, blue = chat("a b", picture(255, 0, 0)), chat("a b", picture(0, 0, 255, kind="jpeg"))
    without = chat("c d e")
    alone = [written(writing, one)[0] for one in (red, blue, without)]
    assert alone[0] != alone[1]
    assert written(writing, red, without, blue) == (alone[0], alone[2], alone[1])


def test_what_is_no_image_is_named(writing: WritingHost) -> None:
    broken = "data:image/png;base64," + base64.b64encode(b"no image").decode()
    for url in (broken, "data:image/png;base64,%%%", "data:image/jpeg;base64,"):
        with pytest.raises(Invalid) as caught:
            written(writing, chat("a"), chat("a", picture(1, 2, 3), url))
        assert [fault.loc for fault in caught.value.faults] == [("inputs", "messages", 1, 0, "content", 1)]


def test_an_image_of_too_many_pixels_is_refused_unread(writing: WritingHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MOST_PIXELS", 100)
    with pytest.raises(Invalid, match="10 x 12 pixels"):
        written(writing, chat("a", picture(1, 2, 3)))


def test_no_address_is_fetched() -> None:
    for url in ("https://example.org/a.png", "file:///etc/passwd", "data:image/svg+xml;base64,AAAA"):
        with pytest.raises(Invalid, match="fetched from nowhere") as caught:
            decode_chats([chat("a", url)], ("inputs", "messages"))
        loc = ("inputs", "messages", 0, 0, "content", 0, "image_url", "url")
        assert [fault.loc for fault in caught.value.faults] == [loc]


def test_a_model_of_texts_refuses_images_and_says_what_to_do(tmp_path: Path) -> None:
    writing = WritingHost(tmp_path)
    with pytest.raises(Invalid, match="processor") as caught:
        written(writing, chat("a", picture(1, 2, 3)))
    assert [fault.loc for fault in caught.value.faults] == [("inputs", "messages", 0, 0, "content", 0)]
    writing.host.end(Conflict("the test is over"))
