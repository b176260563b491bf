"""What `make run` does before it serves: `python -m service.demo` makes the demo base models and registers them."""

import sys
from collections.abc import Mapping

import typer

from models_registry.errors import NotFound, RegistryError
from models_registry.records import HuggingFaceSource
from models_registry.registry import Registry
from models_registry.storage.blobs import open_blob_store
from models_registry.storage.database import migrate, open_database
from service.demo.base_models import prepare_base_models
from service.settings import Settings, read_settings

DEMO_MODELS: Mapping[str, str | None] = {"smollm2": "auto", "minilm": None}
"""With the dtype that each is registered in. minilm's float32 is fast everywhere, and needs no measuring."""


def seed(settings: Settings) -> None:
    """Leave the registry with both demo models, wanted in memory. What its owner changed about them stays."""
    prepare_base_models(settings.model_roots[0])
    migrate(settings.database_url)
    database = open_database(settings.database_url)
    registry = Registry(database, open_blob_store(settings.blob_url, settings.s3_endpoint))
    for name, dtype in DEMO_MODELS.items():
        try:
            registry.find_base_model(name)
        except NotFound:
            registry.register_base_model(name, HuggingFaceSource(name), dtype=dtype)
            typer.echo(f"{name}: registered", err=True)
    database.close()


if __name__ == "__main__":
    try:
        seed(read_settings())
    except RegistryError as error:
        typer.echo(str(error), err=True)
        sys.exit(2)
