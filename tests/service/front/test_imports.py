"""The front's modules pull in nothing that builds or runs a base model."""

from importing import LIVE, below, modules_after_importing

SOURCES = {"models_registry.base_models", "models_registry.base_models.sources"}


def test_a_front_pulls_in_nothing_that_runs_models() -> None:
    loaded = modules_after_importing("service.front", "service.bootstrap")
    assert not below(loaded, *LIVE)
    assert below(loaded, "models_registry.base_models") <= SOURCES
