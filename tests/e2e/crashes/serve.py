"""`adapterctl serve` that dies at a step, as soon as the file DIE_AT in its directory names it."""

import os
import signal
from pathlib import Path
from typing import Final

from e2e.crashes.steps import watch_steps

from service import cli

DIE_AT: Final = "die-at"


def step(name: str) -> None:
    try:
        die_at = Path(DIE_AT).read_text()
    except FileNotFoundError:
        return
    if name == die_at:
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    watch_steps(step)
    cli.main()
