"""Training an injected adapter: its own tensors as parameters, folded anew for every forward so that gradients flow."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn

from models_registry.adapters.lora_fields import LoraFields
from models_registry.injection.adapted_model import AdaptedModel, PreparedAdapter


@contextmanager
def training(adapted: AdaptedModel, name: str) -> Generator[dict[str, nn.Parameter]]:
    """Yield the adapter's tensors as float32 parameters, by their state-dict keys, for an optimiser.

    Inside, forwards of `adapted.module` that are routed to `name` compute with the parameters, with the config's
    dropout on the low-rank part. The base model stays frozen and in eval mode. Afterwards the parameters' values are
    the adapter's weights.
    """
    checkpoint = adapted.checkpoint(name)
    dropout = checkpoint.config.lora_dropout if isinstance(checkpoint.config, LoraFields) else 0.0
    parameters = {key: nn.Parameter(tensor.to(torch.float32, copy=True)) for key, tensor in checkpoint.tensors.items()}

    def refold(*_: object) -> None:
        prepared = adapted.prepare_adapter(replace(checkpoint, tensors=parameters))
        layers = {target: replace(folded, dropout=dropout) for target, folded in prepared.layers.items()}
        adapted.attach_adapter(name, PreparedAdapter(layers, prepared.addition_refusal))

    hook = adapted.module.register_forward_pre_hook(refold)
    try:
        yield parameters
    finally:
        hook.remove()
        if name in adapted.adapters:
            adapted.eject_adapter(name)
        adapted.inject_adapter(name, checkpoint.config, {key: value.detach() for key, value in parameters.items()})
