"""Where adapters meet a live module."""

from models_registry.injection.adapted_model import AdaptedModel, PreparedAdapter
from models_registry.injection.routing.routing import Composition

__all__ = ["AdaptedModel", "Composition", "PreparedAdapter"]
