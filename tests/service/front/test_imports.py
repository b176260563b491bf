"""The front's modules pull in nothing that builds or runs a base model."""

from importing import LIVE, below, modules_after_importing

SOURCES = {"models_registry.base_models", "models_registry.base_models.sources"}


def test_the_fronts_values_and_answers_pull_in_no_transformers() -> None:
    loaded = modules_after_importing(
        "service.protocol",
        "service.settings",
        "service.front.requests",
        "service.front.api.adapter_answers",
        "service.front.api.metrics",
        "service.front.api.problems",
        "service.front.resolution.adapter_selection",
        "service.front.resolution.registry_snapshot",
        "service.front.services.merge_builder",
        "service.front.services.version_builder",
    )
    assert not below(loaded, *LIVE)
    assert below(loaded, "models_registry.base_models") <= SOURCES
