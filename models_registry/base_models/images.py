"""Images of a chat, as pixels. Only data URLs are taken: nothing is fetched for a caller."""

import base64
import binascii
from collections.abc import Sequence
from io import BytesIO
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from models_registry.errors import Invalid
from models_registry.records import Fault, Location

MOST_PIXELS: Final = 16 * 2**20
"""Of one image: a few hundred bytes may stand for gigabytes."""
MOST_IMAGES: Final = 16
"""Of one chat."""


def read_image(url: str, loc: Location) -> Tensor:
    """A PNG or JPEG from its data URL, uint8 [height, width, 3]. Raises `Invalid` naming `loc`."""
    from PIL import Image, UnidentifiedImageError

    try:
        content = base64.b64decode(url.partition(",")[2], validate=True)
        with Image.open(BytesIO(content), formats=("PNG", "JPEG")) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise _refused(loc, f"has {width} x {height} pixels; at most {MOST_PIXELS} are taken. Scale it down")
            return torch.from_numpy(np.array(image.convert("RGB")))
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        reason = "not base64" if isinstance(error, binascii.Error) else "not readable as a PNG or JPEG"
        raise _refused(loc, f"is no image: it is {reason}") from error


def pictures_of(rows: Sequence[Sequence[Tensor]]) -> Sequence[Sequence[Any]]:
    """As image processors take them."""
    from PIL import Image

    return [[Image.fromarray(image.numpy()) for image in images] for images in rows]


def blank_pictures(pixels: Tensor) -> Sequence[Sequence[Any]]:
    """One for each of `pixels` [rows, 3, height, width], as large as these."""
    from PIL import Image

    _, _, height, width = pixels.shape
    return [[Image.new("RGB", (width, height))] for _ in pixels]


def _refused(loc: Location, message: str) -> Invalid:
    return Invalid("An image can't be read.", [Fault(loc, message)])
