"""`adapterctl serve` that dies at a step, as soon as the file DIE_AT in its directory names it."""

import os
import signal
import sys
from pathlib import Path
from typing import Final

from e2e.crashes.steps import watch_steps

from service.cli import main

DIE_AT: Final = "die-at"


def step(name: str) -> None:
    try:
        die_at = Path(DIE_AT).read_text()
    except FileNotFoundError:
        return
    if name == die_at:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    watch_steps(step)
    sys.argv = ["adapterctl", "serve"]
    main()
