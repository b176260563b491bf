"""Chats with images, as the processor that lies beside a vision-language model writes and measures them for it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import AutoProcessor, ProcessorMixin

from models_registry.base_models.chat_template import render_chats
from models_registry.base_models.images import MOST_IMAGES, blank_pictures, pictures_of, read_image
from models_registry.base_models.pixels import check_pixels, put_pixels, refused
from models_registry.base_models.text import Text, check_lengths
from models_registry.errors import Invalid
from models_registry.inputs.values import PIXELS, Chat, Inputs
from models_registry.records import Fault

IMAGE = "image_url"
NO_PROCESSOR = (
    "This base model reads no images: its task is another one than image-text-to-text, or its directory has no "
    "processor. Save the model's own there (AutoProcessor.from_pretrained(…).save_pretrained) and load it again."
)


class Vision:
    """Of one model. Threads may share it."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor

    def prepare(self, inputs: Inputs, text: Text) -> Inputs:
        """Chats as the template writes them, their images beside them. Raises `Invalid` naming what is no image."""
        images = tuple(tuple(_images(chat, row)) for row, chat in enumerate(inputs.chats))
        chats = [tuple(map(_as_parts, chat)) for chat in inputs.chats]
        writer = self._processor if self._processor.chat_template else text.tokenizer
        texts = render_chats(writer, chats, ("inputs", "messages"), inputs.tools)
        return Inputs(texts=texts, images=images, is_templated=True)

    def prepare_pixels(self, inputs: Inputs, chat: bool | None, text: Text) -> Inputs:
        """Texts with an image to each that the caller has prepared. Where they don't say where it belongs, each becomes
        a turn of a chat, behind its image. Raises `Invalid`."""
        check_pixels(inputs)
        writer = self._processor if self._processor.chat_template else text.tokenizer
        mark: str | None = getattr(self._processor, "image_token", None)
        is_marked = mark is not None and any(mark in one for one in inputs.texts)
        if chat is False or (chat is None and (is_marked or not writer.chat_template)):
            return inputs
        chats = [
            ({"role": "user", "content": [{"type": "image"}, {"type": "text", "text": one}]},) for one in inputs.texts
        ]
        texts = render_chats(writer, chats, ("inputs", "text"))
        return Inputs(tensors=inputs.tensors, texts=texts, is_templated=True)

    def rows(self, inputs: Inputs, limit: int | None, new_tokens: int) -> dict[str, Tensor]:
        """All that the model takes of them, `input_ids` and `attention_mask` [rows, tokens] padded on the left. Raises
        `Invalid`, and `TooLong` as texts without images do."""
        pixels = inputs.tensors.get(PIXELS)
        pictures = pictures_of(inputs.images) if pixels is None else blank_pictures(pixels)
        try:
            read: Mapping[str, Tensor] = self._processor(
                text=list(inputs.texts),
                images=pictures if any(pictures) else None,
                padding=True,
                padding_side="left",
                add_special_tokens=not inputs.is_templated,
                return_tensors="pt",
            ).data
        except MemoryError:
            raise
        except Exception as error:  # processors are many; each says what doesn't fit, such as the number of images
            reason = " ".join(f"{error}".split()) or type(error).__name__
            message = f"The model's processor refuses these images: {reason}"
            raise Invalid(message, [Fault(("inputs", "messages" if pixels is None else "text"), message)]) from error
        check_lengths(read["attention_mask"].sum(1).tolist(), limit, new_tokens)
        return dict(read) if pixels is None else put_pixels(read, pixels)


def read_vision(directory: Path) -> Vision | None:
    """None where the directory has no processor of images and texts, or this machine can't run it."""
    try:
        processor: Any = AutoProcessor.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except (ImportError, OSError, ValueError, KeyError, AttributeError, TypeError):
        return None  # transformers raises each of these for files that aren't there
    return Vision(processor) if isinstance(processor, ProcessorMixin) else None


def has_images(chats: Sequence[Chat]) -> bool:
    return any(True for row, chat in enumerate(chats) for _ in _urls(chat, row))


def need_vision(vision: Vision | None, chats: Sequence[Chat]) -> Vision:
    """Raises `Invalid` naming the images, where nothing reads them."""
    if vision is None:
        faults = [Fault(loc, NO_PROCESSOR) for row, chat in enumerate(chats) for loc, _ in _urls(chat, row)]
        raise Invalid(NO_PROCESSOR, faults)
    return vision


def need_vision_of_pixels(vision: Vision | None, *, writes: bool) -> Vision:
    """Raises `Invalid` where nothing reads images beside texts, or nothing is to be written about them."""
    if vision is None or not writes:
        raise refused(NO_PROCESSOR if vision is None else "stand beside text only where parameters ask for text.")
    return vision


def _images(chat: Chat, row: int) -> Iterator[Tensor]:
    urls = list(_urls(chat, row))
    if len(urls) > MOST_IMAGES:
        message = f"has {len(urls)} images; at most {MOST_IMAGES} are taken"
        raise Invalid("The chat has too many images.", [Fault(("inputs", "messages", row), message)])
    for loc, url in urls:
        yield read_image(url, loc)


def _urls(chat: Chat, row: int) -> Iterator[tuple[tuple[str | int, ...], str]]:
    for place, message in enumerate(chat):
        content = message["content"]
        for at, part in enumerate(content if isinstance(content, list) else ()):
            if part["type"] == IMAGE:
                yield ("inputs", "messages", row, place, "content", at), part[IMAGE]["url"]


def _as_parts(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Such templates look for a list of parts, whatever stands in it."""
    content = message["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return {**message, "content": [{"type": "image"} if part["type"] == IMAGE else part for part in parts]}
