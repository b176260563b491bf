"""From a source to its spec. Opening imports transformers or the factory's module, so it is for who builds the model.

`sources.check_source` refuses what names and files alone show, without importing either.
"""

from models_registry.base_models.factories import find_factory
from models_registry.base_models.huggingface import HuggingFaceSpec
from models_registry.base_models.python import PythonSpec
from models_registry.base_models.sources import SourcePolicy, check_source, find_directory
from models_registry.base_models.spec import BaseModelSpec
from models_registry.records import HuggingFaceSource, PythonSource, Source


def open_spec(source: Source, task: str | None, policy: SourcePolicy, num_labels: int | None = None) -> BaseModelSpec:
    """Raises `Invalid` and `Unsupported` as `check_source` does, and `Invalid` for a config that transformers can't
    read or build from, `num_labels` where the model's own task has none, and a factory that can't be imported."""
    check_source(source, task, policy, num_labels)
    match source:
        case PythonSource():
            return PythonSpec(source, find_factory(source.factory, policy.factories), task)
        case HuggingFaceSource():
            directory = find_directory(source.path, policy.model_roots)
            return HuggingFaceSpec(directory, source.file, task, num_labels)
