"""Chats with images, for a vision-language model."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from engines import TIMEOUT_S
from PIL import Image
from tiny_llava import picture, save_processor
from transformers import AutoProcessor
from writing import WritingHost

from models_registry.base_models import images
from models_registry.errors import Conflict, Invalid
from models_registry.inputs.chats import decode_chats
from models_registry.inputs.values import Inputs
from service.protocol.types import BASE, InferCall


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


def pixels_of(directory: Path, *color: int) -> torch.Tensor:
    """As the model's processor prepares such a picture, [1, 3, height, width]."""
    processor = AutoProcessor.from_pretrained(directory / "model").image_processor
    return processor(Image.new("RGB", (10, 12), color), return_tensors="pt")["pixel_values"]


def about(writing: WritingHost, pixels: torch.Tensor, *texts: str) -> tuple[str, ...]:
    asked = Inputs(texts=texts, tensors={"pixel_values": pixels})
    written = writing.ask_with(asked, max_new_tokens=6, min_new_tokens=6).result(TIMEOUT_S).outputs["text"]
    assert isinstance(written, tuple)
    return written


def test_prepared_pixels_beside_a_text_give_what_the_image_in_a_chat_does(writing: WritingHost, tmp_path: Path) -> None:
    red, blue = pixels_of(tmp_path, 255, 0, 0), pixels_of(tmp_path, 0, 0, 255)
    expected = written(writing, chat("a b", picture(255, 0, 0)), chat("c", picture(0, 0, 255)))
    assert about(writing, torch.cat([red, blue]), "a b", "c") == expected
    assert about(writing, red, "<image> a b") == expected[:1]


def test_pixels_whose_tokens_can_not_be_counted_are_refused_with_what_to_send(writing: WritingHost) -> None:
    for pixels, message in (
        (torch.zeros(1, 3, 12, 12), "as a data URL in inputs.messages"),
        (torch.zeros(2, 3, 8, 8), "2 images for 1 texts"),
        (torch.zeros(1, 8, 8), "height, width"),
    ):
        with pytest.raises(Invalid) as caught:
            about(writing, pixels, "a")
        (fault,) = caught.value.faults
        assert fault.loc == ("inputs", "pixel_values")
        assert message in fault.message


def test_pixels_stand_beside_text_only_where_text_is_written_about_them(writing: WritingHost, tmp_path: Path) -> None:
    inputs = Inputs(texts=("a",), tensors={"pixel_values": torch.zeros(1, 3, 8, 8)})
    with pytest.raises(Invalid) as caught:
        writing.host.infer(1000, InferCall(inputs), (BASE,)).result(TIMEOUT_S)
    assert [fault.loc for fault in caught.value.faults] == [("inputs", "pixel_values")]


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
