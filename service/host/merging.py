"""Stored versions merged into one, without their base model: by its architecture and their blobs alone."""

from models_registry.adapters.cancellation import Stopped, while_wanted
from models_registry.adapters.catalog import dump_config, parse_stored
from models_registry.adapters.checkpoint import match_checkpoint
from models_registry.adapters.compose import Component, compose
from models_registry.adapters.merge_options import MergeOptions
from models_registry.records import AdapterVersion, Architecture
from models_registry.safetensors_files import read_safetensors
from service.host.adapters.weights import ReadBlob, read_fitting
from service.protocol.types import Merged, MergeOrder


def merge_versions(order: MergeOrder, read_blob: ReadBlob, stopped: Stopped) -> Merged:
    """`stopped` is asked before each version is read and before each target is merged. Raises `Invalid`, `Damaged`,
    `Conflict` for a version that was made for other weights, `Cancelled`."""
    parts = [
        _read(version, weight, order.architecture, read_blob) for version, weight in while_wanted(order.parts, stopped)
    ]
    checkpoint = compose(parts, order.architecture, MergeOptions(**order.options), stopped)
    return Merged(dump_config(checkpoint.config), checkpoint.warnings, checkpoint.tensors)


def _read(version: AdapterVersion, weight: float, architecture: Architecture, read_blob: ReadBlob) -> Component:
    tensors = read_safetensors(read_fitting(read_blob, architecture, version))
    checkpoint = match_checkpoint(parse_stored(version.config), tensors, architecture, accept_unmatched=True)
    return Component(version.reference, checkpoint, weight)
