"""What a transformers config says where it says anything: composite configs lack most of what flat ones have."""

from pathlib import Path

from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from models_registry.base_models.encoder_decoder import with_decoder
from models_registry.base_models.generation import own_defaults
from models_registry.base_models.load_errors import in_short
from models_registry.base_models.tasks import task_of
from models_registry.errors import Invalid
from models_registry.records import Fault


def text_config_of(config: PreTrainedConfig) -> PreTrainedConfig:
    """The part of a composite config that describes the token inputs; the config itself where it has no such part."""
    try:
        return config.get_text_config()
    except ValueError:  # two parts read tokens (a text encoder and a decoder, in Musicgen): what is sent goes to one
        return config.get_text_config(encoder=True)


def pad_token_of(model: PreTrainedModel) -> int | None:
    """By the text config, else the config itself, else the generation config; None where none of them has one."""
    generation = model.generation_config if model.can_generate() else None
    for place in (text_config_of(model.config), model.config, generation):
        token = getattr(place, "pad_token_id", None)  # composite configs have none, and other models' have no tokens
        if isinstance(token, int):
            return token
    return None


def set_pad_token(model: PreTrainedModel, token: int) -> None:
    """Where a model's forward looks for it: in its own config if that has a place for it, and in the text's."""
    for config in (model.config, text_config_of(model.config)):
        if getattr(config, "pad_token_id", token) is None:
            config.pad_token_id = token


def read_config(directory: Path) -> PreTrainedConfig:
    """Raises `Invalid`."""
    try:
        return AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises many kinds here; each says what is wrong with config.json
        message = f"{directory.name}/config.json can't be read: {in_short(error)}"
        raise Invalid(message, [Fault(("source", "path"), message)]) from error


def own_task(config: PreTrainedConfig) -> str | None:
    """What the model was made for, by its architecture."""
    return task_of(config.architectures[0]) if config.architectures else None


def set_padding(model: PreTrainedModel, token: int) -> None:
    """Let rows be filled up with it, also those that `generate` has finished."""
    # A decoder that classifies finds a row's last token by it, and refuses batches without.
    set_pad_token(model, token)
    if model.can_generate():
        own = own_defaults(model.generation_config, token)
        model.generation_config = with_decoder(own, model.generation_config, model)
