import pytest
import torch
from adapting import METHODS
from bases import DummyModel
from torch import nn

from models_registry.adapters.catalog import parse_config
from models_registry.injection import AdaptedModel


@pytest.fixture
def base() -> nn.Module:
    """In float64, so that what differs is not rounding."""
    torch.manual_seed(0)
    return DummyModel().double().eval()


@pytest.fixture
def adapted(base: nn.Module) -> AdaptedModel:
    """With one adapter of each method, called by its method's name."""
    adapted = AdaptedModel(base)
    for seed, (name, raw) in enumerate(METHODS.items()):
        adapted.inject_adapter(name, parse_config(raw), seed=seed)
    return adapted
