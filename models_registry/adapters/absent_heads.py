"""A base model whose head is not in its files (a language model, hosted to classify) answers only through adapters that
bring their own: here is which head that is, and how many classes it has.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from torch import Tensor

from models_registry.errors import Invalid
from models_registry.records import AbsentHead, Architecture, Fault

Shape: TypeAlias = tuple[int, ...]


def require_head(keys: Iterable[str], architecture: Architecture) -> None:
    """Raises `Invalid` where an adapter with tensors under `keys` leaves a weight of the absent head as it is."""
    head = architecture.absent_head
    if head is None or not (lacking := [name for name in head.parameters if name not in {*keys}]):
        return
    message = (
        f"The base model's files hold no {', '.join(lacking)}: an adapter must bring its own. Save the head along with "
        f"the adapter ({', '.join(map(repr, head.modules))} in modules_to_save; PEFT does so for task_type SEQ_CLS)."
    )
    raise Invalid("The adapter has no head.", [Fault(("config", "modules_to_save"), message)])


def label_shapes(
    shapes: Mapping[str, Shape], tensors: Mapping[str, Tensor], head: AbsentHead | None
) -> dict[str, Shape]:
    """`shapes` for the number of classes that is settled, or else for the one that the `tensors` have."""
    if head is None:
        return dict(shapes)
    labels = head.labels or labels_of(head, tensors) or head.built_labels
    sized = {name: (labels, *shapes[name][1:]) for name in _sized_by_labels(shapes, head)}
    return {**shapes, **sized}


def labels_of(head: AbsentHead, tensors: Mapping[str, Tensor]) -> int | None:
    """How many classes an adapter's own head has; None where it isn't among the `tensors`."""
    return next((tensors[name].shape[0] for name in head.sized if name in tensors and tensors[name].ndim), None)


def require_labels(architecture: Architecture) -> None:
    """Raises `Invalid` where a fresh head can't be made because nothing says how many classes it has."""
    head = architecture.absent_head
    if head is not None and head.labels != head.built_labels:
        message = (
            "The base model's files hold no head, so a fresh one has no size: register the base model with num_labels, "
            "or upload a trained adapter."
        )
        raise Invalid("A fresh head has no size.", [Fault(("config", "modules_to_save"), message)])


def _sized_by_labels(shapes: Mapping[str, Shape], head: AbsentHead) -> Iterator[str]:
    return (name for name in head.sized if name in shapes)
