"""Who asks for one adapter again and again is answered by merged copies of the layers, within the operator's bound."""

from concurrent.futures import Future

import bases
import pytest
import torch
from engines import FACTORIES, RANDOM_LORA, ROWS, TIMEOUT_S, Running, tensor, version_of
from tolerance import assert_same_in_float32

from models_registry.adapters.catalog import parse_config
from models_registry.base_models.opening import open_spec
from models_registry.base_models.sources import SourcePolicy
from models_registry.base_models.spec import Rows
from models_registry.errors import Conflict, Unavailable
from models_registry.injection import AdaptedModel
from models_registry.injection.kernels.kernel_table import KernelTable
from models_registry.injection.merged.merged_weights_cache import HOT_AFTER
from models_registry.inputs.values import Inputs
from models_registry.records import PythonSource
from service.host.execution.model_runner import answer_jobs
from service.host.live_model import build
from service.host.scheduling.job import Job
from service.protocol.types import BuildOrder, HostLimits, InferCall, Part, Selection

SMALL = {**RANDOM_LORA, "lora_alpha": 1}
LAYERS = (8 * 4 + 3 * 8) * 4
"""Bytes of both layers' weights."""


@pytest.mark.parametrize(
    ("limits", "merged"),
    [
        (HostLimits("cpu", max_merged_bytes=LAYERS), LAYERS),
        (HostLimits("cpu", max_merged_bytes=0), 0),
        (HostLimits("cpu"), LAYERS),
        (HostLimits("cpu", max_resident_bytes=8 * LAYERS - 1), 8 * 4 * 4),
    ],
    ids=["a bound", "none", "by default", "an eighth of the adapters' room"],
)
def test_a_hosted_model_merges_what_its_limits_allow(running: Running, limits: HostLimits, merged: int) -> None:
    running.host()
    version = running.create("a", SMALL).version
    base = running.registry.find_base_model("m")
    spec = open_spec(base.source, None, SourcePolicy((), FACTORIES))
    model = build(BuildOrder(base, (), FACTORIES, limits), spec, running.read_blob, lambda _: None)
    try:
        prepared = model.loader.prepare(version, None)
        model.batcher.call(lambda: model.cache.place(version, prepared)).result(TIMEOUT_S)
        (key,) = model.adapted.adapters
        for _ in range(HOT_AFTER + 1):
            with model.adapted.routed_whole({key: 1.0}):
                model.adapted.module(torch.ones(1, 4))
        assert model.adapted.merged_weights.bytes == merged
        model.cache.unload([key])
        assert model.cache.wait_until_freed([key], TIMEOUT_S)
        assert model.adapted.merged_weights.bytes == 0
    finally:
        model.batcher.close(Conflict("The test is over."))
        assert model.worker.join(TIMEOUT_S)


def test_the_answers_stay_the_same(running: Running) -> None:
    running.host()
    running.create("a", SMALL)
    first = running.output("a")
    for _ in range(2 * HOT_AFTER):
        assert_same_in_float32(running.output("a"), first)
    assert not torch.allclose(first, running.output())


class Starved:
    """A module without memory for its forward while merged copies take it, and for the first `worse` ones at all."""

    def __init__(self, worse: int = 0) -> None:
        module = bases.mlp().eval().requires_grad_(False)
        self.adapted = AdaptedModel(module, kernels=KernelTable(max_merged_bytes=LAYERS))
        self.adapted.inject_adapter("a", parse_config(SMALL), seed=0)
        self._spec = open_spec(PythonSource("bases:mlp"), None, SourcePolicy((), FACTORIES))
        for _ in range(HOT_AFTER + 1):
            self.answer()
        self._worse = worse
        module.register_forward_pre_hook(self._starve)

    def answer(self) -> torch.Tensor:
        """Of one row, which can't be halved."""
        request = InferCall(Inputs({"x": ROWS[:1]}))
        rows = Rows({"x": ROWS[:1]}, 1)
        (answer,) = answer_jobs(
            self._spec,
            self.adapted,
            [Job(request, (Selection((Part(version_of("a"), "a", 1.0),)),), rows, Future(), 0.0)],
        )
        return tensor(answer.values["output"])

    def _starve(self, *_: object) -> None:
        self._worse -= 1
        if self.adapted.merged_weights.bytes or self._worse >= 0:
            raise torch.OutOfMemoryError("there is no memory")


def test_merged_copies_go_before_a_request_fails_for_want_of_memory() -> None:
    starved = Starved()
    assert starved.adapted.merged_weights.bytes == LAYERS
    answer = starved.answer()
    assert starved.adapted.merged_weights.bytes == 0
    assert_same_in_float32(answer, starved.answer())


def test_a_request_that_finds_no_memory_without_copies_is_refused() -> None:
    starved = Starved(worse=2)
    with pytest.raises(Unavailable, match="Not enough memory"):
        starved.answer()
