"""One process serves from a SQLite file, and another may as soon as it has ended in whatever way."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from databases import sqlite_url

from models_registry.errors import Conflict
from models_registry.storage.database import migrate
from models_registry.storage.serving_lock import serving_lock

HOLD = """
import sys
from models_registry.storage.serving_lock import serving_lock
with serving_lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_holder_is_refused_with_the_number_of_the_first(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "registry.db")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Conflict, match=f"number {holder.pid}"), serving_lock(url):
            pass
        migrate(url)
        holder.kill()
    with serving_lock(url):
        pass


def test_a_link_to_the_file_is_the_same_file(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to("registry.db")
    with serving_lock(sqlite_url(tmp_path / "registry.db")):
        for url in (sqlite_url(tmp_path / "link.db"), f"sqlite:///file:{tmp_path}/registry.db?uri=true"):
            with pytest.raises(Conflict, match=f"number {os.getpid()}"), serving_lock(url):
                pass
        with serving_lock(sqlite_url(tmp_path / "other.db")):
            pass


def test_postgres_may_be_served_by_any_number() -> None:
    url = "postgresql://host/registry"
    with serving_lock(url), serving_lock(url):
        pass
