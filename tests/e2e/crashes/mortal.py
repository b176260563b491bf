"""Processes that live a story and die at one of its steps. They are forked from one that has imported everything."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from threading import Lock
from typing import Any

from e2e.crashes.steps import watch_steps
from e2e.crashes.story import STORY
from e2e.process import ROOT

from models_registry.registry import Registry
from models_registry.storage.blobs import open_blob_store
from models_registry.storage.database import open_database


@dataclass(frozen=True, slots=True)
class Life:
    """Which story to live, from which deed on, and when to die: at the `die_at`th step (from 1), or after seconds."""

    number: int
    begin_with: int = 0
    die_at: int | None = None
    die_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Death:
    """How many deeds were acknowledged, and the steps that were begun."""

    killed: bool
    done: int
    steps: Sequence[str]


class Mortals:
    """The process that they are forked from."""

    def __init__(self, database_url: str, blob_url: str) -> None:
        self._one_by_one = Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "e2e.crashes.mortal", database_url, blob_url],
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}:{ROOT / 'tests' / 'support'}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def live(self, life: Life) -> Death:
        assert self._process.stdin
        assert self._process.stdout
        with self._one_by_one:
            self._process.stdin.write(f"{json.dumps(asdict(life))}\n")
            self._process.stdin.flush()
            return Death(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.communicate()


def main(database_url: str, blob_url: str) -> None:
    for line in sys.stdin:
        print(json.dumps(asdict(_give_birth(Life(**json.loads(line)), database_url, blob_url))), flush=True)


def _give_birth(life: Life, database_url: str, blob_url: str) -> Death:
    mine, its = os.pipe()
    if (child := os.fork()) == 0:
        _live(life, database_url, blob_url, its)
    os.close(its)
    if life.die_after_s is not None:
        time.sleep(life.die_after_s)
        os.kill(child, signal.SIGKILL)
    with os.fdopen(mine) as notes:
        told: list[Any] = [json.loads(line) for line in notes]
    _, status = os.waitpid(child, 0)
    assert status in {0, signal.SIGKILL}, status
    return Death(
        killed=status == signal.SIGKILL,
        done=sum(note is None for note in told),
        steps=[note for note in told if note is not None],
    )


def _live(life: Life, database_url: str, blob_url: str, notes: int) -> None:
    begun = 0

    def note(what: str | None) -> None:
        os.write(notes, f"{json.dumps(what)}\n".encode())

    def step(name: str) -> None:
        nonlocal begun
        begun += 1
        note(name)
        if begun == life.die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    status = 1
    try:
        registry = Registry(open_database(database_url), open_blob_store(blob_url))
        watch_steps(step)
        for deed in STORY[life.begin_with :]:
            deed(registry, life.number)
            note(None)
        status = 0
    finally:
        os._exit(status)


if __name__ == "__main__":
    main(*sys.argv[1:])
