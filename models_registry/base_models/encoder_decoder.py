"""What an encoder-decoder model needs beside its inputs: the tokens that its decoder has so far."""

from collections.abc import Collection

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from models_registry.errors import Invalid
from models_registry.records import Fault

DECODER_INPUTS = ("decoder_input_ids", "decoder_inputs_embeds")


def lacks_decoder_inputs(model: PreTrainedModel, known: Collection[str], given: Collection[str]) -> bool:
    """Whether the decoder got nothing to begin with: some models then shift the inputs, the others can't run."""
    return model.config.is_encoder_decoder and DECODER_INPUTS[0] in known and not {*given} & {*DECODER_INPUTS}


def first_decoder_inputs(model: PreTrainedModel, known: Collection[str], rows: int) -> dict[str, Tensor]:
    """What so many rows of an encoder-decoder model begin their answers with; nothing for all others."""
    if not lacks_decoder_inputs(model, known, ()):
        return {}
    return {"decoder_input_ids": torch.full((rows, 1), start_token_of(model) or 0, device=model.device)}


def missing_decoder_inputs(model: PreTrainedModel, from_text: bool, writes: bool) -> Invalid:
    """What to tell a caller whose forward failed for lack of them."""
    start = start_token_of(model)
    begin = "" if start is None else f", at first [[{start}]] for one row"
    way_out = f"send decoder_input_ids, the tokens that the decoder has so far{begin}"
    if from_text:
        way_out = f"{way_out}, beside input_ids instead of text"
    if writes:
        way_out = f"{way_out}; or give text and `parameters` to have text written (text2text-generation)"
    message = f"is missing: this is an encoder-decoder model, whose forward needs it. To go on, {way_out}."
    return Invalid(f"decoder_input_ids {message}", [Fault(("inputs", "decoder_input_ids"), message)])


def start_token_of(model: PreTrainedModel) -> int | None:
    """What the decoder's row begins with: by the generation config, else the config."""
    places = (model.generation_config if model.can_generate() else None, model.config)
    tokens = (getattr(place, "decoder_start_token_id", None) for place in places)  # only these models' configs have it
    return next((token for token in tokens if isinstance(token, int)), None)


def with_decoder(own: GenerationConfig, shipped: GenerationConfig, model: PreTrainedModel) -> GenerationConfig:
    """`own` with the tokens that `shipped` has for the decoder's beginning and end: its language, not a taste."""
    if model.config.is_encoder_decoder:
        own.decoder_start_token_id = start_token_of(model)
        own.forced_bos_token_id = shipped.forced_bos_token_id
        own.forced_eos_token_id = shipped.forced_eos_token_id
    return own


def written(tokens: Tensor) -> Tensor:
    """What the decoder wrote [rows, tokens] behind the token that it began with."""
    return tokens[:, 1:]
