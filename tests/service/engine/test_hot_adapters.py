"""Who asks for one adapter again and again is answered by merged copies of the layers, within the operator's bound."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from engines import FACTORIES, RANDOM_LORA, Running

from models_registry.base_models.sources import SourcePolicy
from models_registry.errors import Conflict
from models_registry.injection.hot import HOT_AFTER
from service.engine.hosted_model import host
from service.engine.request import EngineLimits

SMALL = {**RANDOM_LORA, "lora_alpha": 1}
LAYERS = (8 * 4 + 3 * 8) * 4
"""Bytes of both layers' weights."""


@pytest.mark.parametrize(
    ("limits", "merged"),
    [
        (EngineLimits("cpu", max_merged_bytes=LAYERS), LAYERS),
        (EngineLimits("cpu", max_merged_bytes=0), 0),
        (EngineLimits("cpu"), LAYERS),
        (EngineLimits("cpu", max_resident_bytes=8 * LAYERS - 1), 8 * 4 * 4),
    ],
    ids=["a bound", "none", "by default", "an eighth of the adapters' room"],
)
def test_a_hosted_model_merges_what_its_limits_allow(running: Running, limits: EngineLimits, merged: int) -> None:
    running.host()
    running.create("a", SMALL)
    base = running.registry.find_base_model("m")
    with ThreadPoolExecutor(1) as stagers:
        hosted = host(base, running.registry, SourcePolicy((Path(),), FACTORIES), limits, stagers)
        try:
            version = running.engine.adapters.find_version("a")
            hosted.load(version)
            (slot,) = hosted.adapted.adapters
            for _ in range(HOT_AFTER + 1):
                with hosted.adapted.routed_whole({slot: 1.0}):
                    hosted.adapted.module(torch.ones(1, 4))
            assert hosted.adapted.hot.bytes == merged
            hosted.unload("a")
            assert hosted.adapted.hot.bytes == 0
        finally:
            hosted.close(Conflict("The test is over."))


def test_the_answers_stay_the_same(running: Running) -> None:
    running.host()
    running.create("a", SMALL)
    first = running.output("a")
    for _ in range(2 * HOT_AFTER):
        torch.testing.assert_close(running.output("a"), first, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(first, running.output())
