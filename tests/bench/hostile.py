"""A neighbour's worst answer beside each attack, and beside nothing."""

from collections.abc import Iterator
from pathlib import Path
from time import sleep

from tests.bench.figures import Figure
from tests.bench.processes import our_service
from tests.e2e.hostile.attacks import ATTACKS, MODEL
from tests.e2e.hostile.neighbour import Neighbour

GOAL_S = 0.25
IDLE_S = 5.0


def attacking(smollm2: Path) -> Iterator[Figure]:
    """Over the goal of 250 ms, not over the idle neighbour, whom anything on the machine makes wait."""
    with our_service(smollm2.parent.resolve()) as service:
        service.register(MODEL, {"kind": "huggingface", "path": MODEL})
        with Neighbour(service.address) as idle:
            sleep(IDLE_S)
        yield Figure("hostile: worst answer beside nothing", "the goal", idle.worst_s, GOAL_S, 1.0)
        for attack in ATTACKS:
            with Neighbour(service.address) as neighbour:
                attack.send(service.address)
            yield Figure(f"hostile: {attack.name}", "the goal", neighbour.worst_s, GOAL_S, 1.0)
