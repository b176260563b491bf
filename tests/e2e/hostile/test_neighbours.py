"""Each attack is refused, and whoever is beside it is answered as before. `make bench ARGS=hostile` has the figures."""

import pytest
from e2e.process import Service

from tests.e2e.hostile.attacks import ATTACKS, Attack
from tests.e2e.hostile.neighbour import Neighbour

BOUND_S = 20.0
"""Machines are busy: what once held a neighbour up took longer than this, and grew with the attack."""


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_a_neighbour_of_an_attack_is_answered_as_before(service: Service, attack: Attack) -> None:
    known = service.http.get("/adapters").json()
    with Neighbour(service.address) as neighbour:
        status = attack.send(service.address)
    assert status in attack.refusals
    assert neighbour.wrong == []
    assert neighbour.answers > 0
    assert neighbour.worst_s < BOUND_S
    assert service.http.get("/adapters").json() == known
    assert service.http.get("/health/ready").json() == {"status": "ready", "degraded": []}
