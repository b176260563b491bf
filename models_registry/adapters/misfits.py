"""Why the keys of a file have no places: the likely cause and the way out, in one sentence."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from models_registry.records import Architecture, FusedLayers

_PART = r"(?:lora_(?:A|B|E|embedding_A|embedding_B|magnitude_vector)|ia3_l|trainable_tokens_delta)"
_NAMED: Final = re.compile(rf"(\.{_PART})\.(?!weight$|bias$)([^.]+)(\.weight|\.bias)?$")
_ANY_PART: Final = re.compile(rf"\.{_PART}(?:\.|$)")
_FOREIGN: Final[Mapping[str, re.Pattern[str]]] = {
    "LyCORIS": re.compile(r"\.(hada_|lokr_|oft_|glora_|on_input|dora_scale)"),
    "kohya's sd-scripts": re.compile(r"\.lora_(down|up)\.weight$|^lora_(unet|te\d?|transformer)_"),
    "older diffusers": re.compile(r"[._]lora\.(down|up)\.weight$|\.processor\."),
}
_MOST_CANDIDATES: Final = 8


def likely_cause(keys: Sequence[str], places: Collection[str], architecture: Architecture) -> str | None:
    """What is wrong with a file of these `keys`, of which some are none of `places`; None where nothing common is."""
    given = frozenset(keys)
    unplaced = [key for key in keys if key not in places]
    if not unplaced:
        return None
    causes = (
        _adapter_name(unplaced, places),
        _foreign(unplaced),
        _experts(unplaced, architecture.fused_layers),
        _prefix(unplaced, [place for place in places if place not in given]),
        _whole_model(keys, architecture),
    )
    return next((cause for cause in causes if cause is not None), None)


def fused_into(layer: str, fused_layers: Sequence[FusedLayers]) -> str | None:
    """The parameter that older versions had `layer` for, whose name may be its last part alone."""
    weight = f"{layer}.weight" if "." in layer else f"mlp.experts.0.{layer}.weight"
    return next((fused.parameter for fused in fused_layers if re.search(fused.pattern, weight)), None)


def why_fused(parameter: str) -> str:
    return (
        f"transformers 4 had a layer for each expert where this base model has one parameter for all ({parameter}), "
        "and adapters on bare parameters are not served"
    )


def why_shaped(actual: tuple[int, ...], shape: tuple[int, ...], architecture: Architecture) -> Iterator[str]:
    """The usual ways in which a right key gets a wrong shape."""
    if actual == (0,):
        yield (
            "DeepSpeed ZeRO-3 writes this for parameters that it did not gather before saving; save again with "
            "stage3_gather_16bit_weights_on_model_save, or convert its checkpoint with zero_to_fp32.py"
        )
    rows = next((m.in_features for m in architecture.modules if m.name == architecture.input_embedding), None)
    differ = [(had, needed) for had, needed in zip(actual, shape, strict=False) if had != needed]
    if len(actual) == len(shape) and [needed for _, needed in differ] == [rows]:
        yield (
            f"it was trained with a vocabulary of {differ[0][0]}, this base model has {rows}; host one whose "
            "embeddings are resized to that (resize_token_embeddings, then save_pretrained)"
        )


def _adapter_name(unplaced: Sequence[str], places: Collection[str]) -> str | None:
    found = [_NAMED.search(key) for key in unplaced]
    if not any(found) or any(match is not None and _NAMED.sub(r"\1\3", match.string) not in places for match in found):
        return None
    names = ", ".join(sorted({repr(match[2]) for match in found if match is not None}))
    return (
        f"The keys hold an adapter's name ({names}), as a model's own state_dict() writes it; save the adapter with "
        "save_pretrained, or upload what PEFT's get_peft_model_state_dict gives."
    )


def _foreign(unplaced: Sequence[str]) -> str | None:
    for tool, pattern in _FOREIGN.items():
        found = [pattern.search(key) for key in unplaced]
        if any(found) and all(match or key.endswith(".alpha") for match, key in zip(found, unplaced, strict=True)):
            return (
                f"The keys are those of {tool}, not PEFT's (….lora_A.weight, ….lora_B.weight); convert the file to "
                "PEFT's layout first."
            )
    return None


def _prefix(unplaced: Sequence[str], places: Collection[str]) -> str | None:
    for removed, added in _candidates(unplaced[0], places):
        if all(key.startswith(removed) and f"{added}{key.removeprefix(removed)}" in places for key in unplaced):
            how = f"removing the prefix {removed!r}" if removed else f"putting {added!r} in front"
            if removed and added:
                how = f"replacing the prefix {removed!r} by {added!r}"
            return (
                f"All keys match after {how}: the adapter was trained on a model that holds this one under another "
                "name, or the other way round; rename them so, or upload it to a base model of that kind."
            )
    return None


def _candidates(key: str, places: Collection[str]) -> Iterator[tuple[str, str]]:
    """(What is removed in front, what is put there) so that `key` is one of `places`, the smallest change first."""
    parts = key.split(".")
    for start in range(len(parts) - 2):
        removed, rest = "".join(f"{part}." for part in parts[:start]), ".".join(parts[start:])
        if rest in places:
            yield removed, ""
        endings = [place for place in places if place.endswith(f".{rest}")]
        yield from ((removed, place.removesuffix(rest)) for place in endings[:_MOST_CANDIDATES])


def _whole_model(keys: Collection[str], architecture: Architecture) -> str | None:
    if any(_ANY_PART.search(key) for key in keys):
        return None
    own = {f"{module.name}.{name}" for module in architecture.modules for name in module.parameters}
    known = sum(key in own for key in keys)
    if 2 * known < len(keys):
        return None
    return (
        "These are the weights of a whole model, not of an adapter; upload the adapter_model.safetensors that a PEFT "
        "model's save_pretrained writes, or host the model's directory as a base model."
    )


def _experts(unplaced: Sequence[str], fused_layers: Sequence[FusedLayers]) -> str | None:
    layers = (_ANY_PART.split(key)[0] for key in unplaced)
    parameter = next(filter(None, (fused_into(layer, fused_layers) for layer in layers if "." in layer)), None)
    return parameter and f"The file can't be read here: {why_fused(parameter)}."
