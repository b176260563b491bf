"""Images that a caller has prepared: `pixel_values` [texts, 3, height, width] beside texts, one image to each.

How many tokens of a prompt stand for an image only the model's processor knows. It is asked with blank pictures of that
size: where it makes of them what the caller has sent, its prompts are right for that.
"""

from collections.abc import Mapping
from typing import Final

from torch import Tensor

from models_registry.errors import Invalid
from models_registry.inputs.values import PIXELS, Inputs
from models_registry.records import Fault

IMAGE_DIMENSIONS: Final = 4
COLORS: Final = 3
LOC: Final = ("inputs", PIXELS)
OF_PROMPT: Final = frozenset({"input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"})
SEND_IMAGES: Final = (
    'Send the image itself, as a data URL in inputs.messages ({"type": "image_url", …}): the model\'s processor then '
    "prepares it."
)


def check_pixels(inputs: Inputs) -> None:
    """Raises `Invalid` unless there is one image to each text."""
    pixels = inputs.tensors[PIXELS]
    if pixels.ndim != IMAGE_DIMENSIONS or pixels.shape[1] != COLORS:
        raise refused(f"must have the shape [texts, {COLORS}, height, width], not {list(pixels.shape)}.")
    if len(pixels) != len(inputs.texts):
        raise refused(f"has {len(pixels)} images for {len(inputs.texts)} texts; each text needs one.")


def put_pixels(read: Mapping[str, Tensor], pixels: Tensor) -> dict[str, Tensor]:
    """What the processor made of the blank pictures, with the caller's own pixels. Raises `Invalid` where they are of
    another form than the processor's."""
    if others := sorted(read.keys() - OF_PROMPT - {PIXELS}):
        raise refused(f"are not all that the model takes of an image: also {', '.join(others)}. {SEND_IMAGES}")
    made = read[PIXELS]
    if made.shape != pixels.shape:
        message = f"has images of {list(pixels.shape[1:])}, where the model's processor makes {list(made.shape[1:])}: "
        message += f"the tokens that stand for one can't be counted. {SEND_IMAGES}"
        raise refused(message)
    return {**read, PIXELS: pixels.to(made.dtype)}


def refused(message: str) -> Invalid:
    return Invalid("The images can't be read.", [Fault(LOC, message)])
