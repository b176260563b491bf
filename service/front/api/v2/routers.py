"""The Open Inference Protocol: all of its routes."""

from service.front.api.v2 import inference, models

OPEN_INFERENCE = (inference.router, models.router)
