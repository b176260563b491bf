"""Registry and blobs as one point in time, in a directory, and back from there.

The rows are read in one transaction, then each blob that they name is copied and verified. The manifest is written
last: a directory without one is no backup. Works beside a running service.
"""

import json
import os
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import file_digest
from pathlib import Path
from typing import Final

from models_registry.errors import Conflict, Damaged, Invalid, NotFound
from models_registry.records import Fault
from models_registry.storage.blobs import BlobStore
from models_registry.storage.database import Database, begin_migration, newest_schema, upgrade
from models_registry.storage.directory import open_directory
from models_registry.storage.files import make_directory, sync_directory, translated, write_durably
from models_registry.storage.row_dump import as_line, dump_rows, is_empty, load_lines

FORMAT: Final = 1
MANIFEST, ROWS, BLOBS = "manifest.json", "registry.jsonl", "blobs"
THREADS: Final = 4
"""As many blobs are copied, and held in memory, at a time."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup has: `rows` by table, the sha256 (hex) of their file, and each blob's bytes by its digest."""

    format: int
    made_by: str
    made_at: str
    schema: str
    rows: Mapping[str, int]
    registry: str
    blobs: Mapping[str, int]


def back_up(database: Database, blobs: BlobStore, directory: Path, made_by: str) -> Manifest:
    """Copy all of it into `directory`, which is made, or is there and empty.

    Raises:
        Conflict: something lies there already.
        Invalid: blobs are damaged or missing; every one is named, and the copy is no backup.
        NoRoom, Unavailable: of either store, or of the directory.
    """
    place = f"the directory {directory}"
    with translated(place):
        if directory.exists() and any(directory.iterdir()):
            raise Conflict(f"{directory} isn't empty. Give a directory of its own to each backup.")
        make_directory(directory)
        directory.chmod(0o700)  # who called whom, and every adapter
    counts, digests = _write_rows(database, directory / ROWS)
    sizes = _copy(blobs, open_directory(directory / BLOBS), digests)
    with translated(place):
        made_at = datetime.now(UTC).isoformat(timespec="seconds")
        digest = _digest_of(directory / ROWS)
        manifest = Manifest(FORMAT, made_by, made_at, newest_schema(), counts, digest, sizes)
        write_durably(directory / MANIFEST, json.dumps(asdict(manifest), indent=2).encode())
    return manifest


def restore(database_url: str, blobs: BlobStore, directory: Path) -> Manifest:
    """Bring a backup's blobs into the store, then its rows into the database at `database_url`, all or none, and to
    this code's schema.

    Raises:
        Invalid: the backup is not whole; every damaged or missing blob is named. The database is as it was.
        Conflict: the database isn't empty, or the backup was made by a newer version.
        NoRoom, Unavailable: of either store, or of the directory.
    """
    manifest = read_manifest(directory)
    _require_empty(database_url)
    _copy(open_directory(directory / BLOBS), blobs, manifest.blobs)
    with begin_migration(database_url) as connection:
        if not is_empty(connection):
            raise _not_empty()
        upgrade(connection, manifest.schema)
        with translated(f"the directory {directory}"), (directory / ROWS).open(encoding="utf-8") as lines:
            load_lines(connection, lines)
        upgrade(connection)
    return manifest


def read_manifest(directory: Path) -> Manifest:
    """Raises `Invalid` unless a whole backup of a format that we read is there, by its registry's digest."""
    try:
        manifest = Manifest(**json.loads((directory / MANIFEST).read_bytes()))
        found = _digest_of(directory / ROWS)
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        raise Invalid(
            f"{directory} has no {missing}, so it is no backup, or half of one: the manifest is written last."
        ) from None
    except (TypeError, ValueError) as error:
        raise Invalid(f"{directory / MANIFEST} is no manifest of ours: {error}.") from None
    if manifest.format != FORMAT:
        raise Invalid(f"{directory} has the format {manifest.format}; this version reads {FORMAT}.")
    if found != manifest.registry:
        raise Invalid(f"{directory / ROWS} is not the file that was written: its sha256 is {found}.")
    return manifest


def _write_rows(database: Database, file: Path) -> tuple[dict[str, int], frozenset[str]]:
    """How many rows each table has, and the digests that versions name."""
    counts: dict[str, int] = {}
    digests: set[str] = set()
    with database.read() as session, translated(f"the file {file}"), file.open("x", encoding="utf-8") as out:
        for table, row in dump_rows(session):
            out.write(as_line(table, row) + "\n")
            counts[table] = counts.get(table, 0) + 1
            if table == "versions":
                digests.add(row["digest"])
        out.flush()
        os.fsync(out.fileno())
    with translated(f"the directory {file.parent}"):
        sync_directory(file.parent)
    return counts, frozenset(digests)


def _copy(source: BlobStore, target: BlobStore, digests: Collection[str]) -> dict[str, int]:
    """The blobs' bytes. Raises `Invalid` with every one that is damaged or missing."""
    faults: list[Fault] = []

    def copy(digest: str) -> tuple[str, int] | Fault:
        try:
            data = source.get(digest)
        except NotFound:
            return Fault((f"sha256:{digest}",), "is missing")
        except Damaged as error:
            return Fault((f"sha256:{digest}",), f"its bytes {error.found}")
        target.put(data)
        return digest, len(data)

    def results() -> Iterator[tuple[str, int]]:
        with ThreadPoolExecutor(THREADS, "copy") as pool:
            try:
                for result in pool.map(copy, sorted(digests)):
                    if isinstance(result, Fault):
                        faults.append(result)
                    else:
                        yield result
            finally:
                pool.shutdown(cancel_futures=True)

    sizes = dict(results())
    if faults:
        raise Invalid(
            "Nothing is whole without these blobs; `adapterctl fsck` says of which adapters they are:", faults
        )
    return sizes


def _require_empty(database_url: str) -> None:
    """Asked before anything is copied, and again in the transaction that fills it."""
    with begin_migration(database_url) as connection:
        if not is_empty(connection):
            raise _not_empty()


def _not_empty() -> Conflict:
    return Conflict("The database isn't empty, and a backup replaces nothing. Give an empty one, or a new file.")


def _digest_of(file: Path) -> str:
    with file.open("rb") as opened:
        return file_digest(opened, "sha256").hexdigest()
