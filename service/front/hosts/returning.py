"""Adapters that were in a host's memory when it died, and how its successor gets them back."""

import logging
from concurrent.futures import wait
from dataclasses import dataclass

from models_registry.records import AdapterVersion
from service.front.hosts.hosted_model import HostedModel
from service.protocol.replicas import PinWish

log = logging.getLogger(__name__)

BRINGING_BACK_S = 10.0
"""A restarted host isn't ready for so long while its adapters are loaded; slower ones are loaded after that."""


@dataclass(frozen=True, slots=True)
class Returning:
    """Adapters that a restarted host is to have in memory again."""

    versions: tuple[AdapterVersion, ...] = ()
    pinned: tuple[PinWish, ...] = ()


NONE = Returning()


def bring_back(hosted: HostedModel, returning: Returning) -> None:
    """Load adapters into memory again. One that fails to load is fetched by the next request that needs it."""
    pinned = {pin.version.key for pin in returning.pinned}
    others = [version for version in returning.versions if version.key not in pinned]
    loads = [
        (pin.version, hosted.begin_to_load(pin.version, pin=True, replicas=pin.replicas)) for pin in returning.pinned
    ]
    loads += [(version, hosted.begin_to_load(version, pin=False)) for version in others]
    wait([future for _, future in loads], BRINGING_BACK_S)
    for version, future in loads:
        if not future.done():
            log.warning("%s is still on its way back into memory", version.reference)
        elif (error := future.exception()) is not None:
            log.warning("%s was not brought back into memory: %s", version.reference, error)
