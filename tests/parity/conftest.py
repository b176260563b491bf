"""The oracle is `peft`. What it warns of that isn't ours is let through here, and only here."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent
NOISE = (
    "ignore:LoRA adapter added to ConvNd layer with groups > 1:UserWarning",
    # PEFT finds out which way a Conv1D's or a Linear's weight lies, and says so.
    "ignore:fan_in_fan_out is set to:UserWarning",
    # Adapters on tied embeddings; this is about merging, which we don't do.
    "ignore:Model has `tie_word_embeddings=True` and a tied layer is part of the adapter:UserWarning",
    "ignore:Setting `save_embedding_layers` to `True`:UserWarning",
    "ignore:You have passed exclude_modules=:UserWarning",
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning",
    "ignore:Note that `r` is not used in AdaLora:UserWarning",
    # A model that isn't transformers' own has no config for PEFT to look into before it saves.
    "ignore:Could not find a config file in:UserWarning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.filterwarnings(*NOISE))
