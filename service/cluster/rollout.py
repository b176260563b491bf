"""Brings Serve's applications to what the base models' records say, and to the code of whoever asks for it.

What it has said itself it remembers, only so that it need not say it again: to say it twice changes nothing.
"""

import logging
from collections.abc import Collection, Mapping
from typing import Protocol

from models_registry.records import BaseModel, ReplicaResources
from service.cluster.applications import registration_of

log = logging.getLogger(__name__)

UNSAID = ReplicaResources(max_replicas=0)
"""No resources of a base model's."""


class Running(Protocol):
    """What is needed of `Applications`, of one code."""

    def present(self) -> dict[str, str]: ...
    def run(self, base: BaseModel, name: str | None = None) -> str: ...
    def is_running(self, application: str) -> bool: ...
    def delete(self, application: str) -> None: ...


class Rollout:
    """For one thread at a time."""

    def __init__(self, applications: Running) -> None:
        self._applications = applications
        self._given: dict[str, ReplicaResources | None] = {}
        """What was said of each application, by registration."""
        self._last = ""
        """The application that was brought to this code last."""

    def follow(self, hosted: Collection[BaseModel]) -> None:
        """These are all the base models that are to run."""
        wanted = {registration_of(base): base for base in hosted}
        present = self._applications.present()
        for registration in present.keys() - wanted.keys():
            log.info("application %s is ended", present[registration])
            self._applications.delete(present[registration])
            self._given.pop(registration, None)
        for registration in wanted.keys() - present.keys():
            log.info("application %s is started", self._begin(wanted[registration]))
        self._renew(wanted, {name: present[name] for name in sorted(wanted.keys() & present.keys())})

    def application(self, base: BaseModel) -> str:
        """That of a base model that is to run, which may still be starting."""
        return self._applications.present().get(registration_of(base)) or self._begin(base)

    def is_over(self, hosted: Collection[BaseModel]) -> bool:
        """Whether all replicas of these base models have this code."""
        present = self._applications.present()
        names = [present.get(one) for base in hosted if (one := registration_of(base)) in self._given]
        return len(names) == len(hosted) and all(name and self._applications.is_running(name) for name in names)

    # ---- inside -------------------------------------------------------------------------------------------------

    def _renew(self, wanted: Mapping[str, BaseModel], present: Mapping[str, str]) -> None:
        """Where resources have changed, at once. Where this code hasn't been said yet, one application after the other:
        the next one once the last has all its new replicas."""
        for registration, name in present.items():
            base, said = wanted[registration], registration in self._given
            if self._given.get(registration, UNSAID) == base.resources or (not said and self._is_busy):
                continue
            if not said:
                # What lacks replicas already may do so for long, and holds up nobody.
                self._last = name if self._applications.is_running(name) else ""
            log.info("application %s is brought to what the registry says", self._begin(base, name))

    @property
    def _is_busy(self) -> bool:
        return bool(self._last) and not self._applications.is_running(self._last)

    def _begin(self, base: BaseModel, name: str | None = None) -> str:
        self._given[registration_of(base)] = base.resources
        return self._applications.run(base, name)
