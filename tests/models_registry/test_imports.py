"""What a process pulls in that only reads records, adapters, sources and inputs: no transformers, no live modules."""

from importing import LIVE, below, modules_after_importing


def test_what_reads_and_checks_pulls_in_no_transformers() -> None:
    loaded = modules_after_importing(
        "models_registry.registry",
        "models_registry.adapters",
        "models_registry.storage",
        "models_registry.safetensors_files",
        "models_registry.inputs",
        "models_registry.base_models.sources",
    )
    assert "models_registry.adapters.checkpoint" in loaded
    assert not below(loaded, *LIVE)
    sources = {"models_registry.base_models", "models_registry.base_models.sources"}
    assert below(loaded, "models_registry.base_models") == sources
