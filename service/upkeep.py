"""What an operator asks of the stores beside the running service: is everything there, and what may go?

Says what it finds line by line; `cli.py` decides where to.
"""

import sys
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path

import typer

from models_registry.registry import Registry
from models_registry.registry_backup import Manifest, back_up, restore
from models_registry.registry_check import CheckedBlob, check_blobs, find_unreferenced, references_by_digest
from models_registry.registry_garbage import collect_garbage
from models_registry.storage.blobs import BlobStore, open_blob_store
from models_registry.storage.database import open_database
from service.settings import Settings

Say = Callable[[str], None]


def check_all(settings: Settings, say: Say) -> bool:
    """Every version's blob is read, verified and marked; each that is wrong is said. Whether all are sound.

    Raises `Unavailable` if a store is away.
    """
    with _open_stores(settings) as (registry, blobs):
        references = references_by_digest(registry)
        verdicts: Counter[str] = Counter()
        checked = check_blobs(registry, blobs, references)
        with typer.progressbar(checked, len(references), label="Checking blobs", file=sys.stderr) as progress:
            for blob in progress:
                verdicts[blob.verdict] += 1
                if blob.verdict != "sound":
                    say(_line(blob))
        unreferenced = find_unreferenced(registry, blobs)
        counts = ", ".join(f"{number} {verdict}" for verdict, number in sorted(verdicts.items())) or "none"
        say(f"Checked {len(references)} blobs: {counts}.")
        size = sum(blob.bytes for blob in unreferenced)
        say(
            f"No version names {len(unreferenced)} other blobs of {_megabytes(size)}; `adapterctl gc` removes old ones."
        )
    return set(verdicts) <= {"sound"}


def remove_garbage(settings: Settings, say: Say, *, dry_run: bool, even_all: bool) -> None:
    """Remove what no version names. Raises `Conflict` if that is all there is, `Unavailable` if a store is away."""
    with _open_stores(settings) as (registry, blobs):
        garbage = collect_garbage(registry, blobs, dry_run=dry_run, even_all=even_all)
    for blob in garbage.removed:
        say(f"sha256:{blob.digest}  {blob.bytes} bytes, last put {blob.modified_at:%Y-%m-%d %H:%M} UTC")
    done = "Would remove" if dry_run else "Removed"
    left = "" if dry_run else f" and {garbage.partials} unfinished writes"
    say(f"{done} {len(garbage.removed)} blobs of {_megabytes(garbage.bytes)}{left}.")


def back_up_all(settings: Settings, directory: Path, say: Say) -> None:
    """Raises as `registry_backup.back_up`."""
    blobs = open_blob_store(settings.blob_url, settings.s3_endpoint)
    with closing(open_database(settings.database_url)) as database:
        made = back_up(database, blobs, directory, version("adapter-service"))
    say(f"Backed up {_told(made)} to {directory}.")


def restore_all(settings: Settings, directory: Path, say: Say) -> None:
    """Raises as `registry_backup.restore`."""
    blobs = open_blob_store(settings.blob_url, settings.s3_endpoint)
    made = restore(settings.database_url, blobs, directory)
    say(f"Restored {_told(made)}, as they were at {made.made_at}.")


@contextmanager
def _open_stores(settings: Settings) -> Generator[tuple[Registry, BlobStore]]:
    blobs = open_blob_store(settings.blob_url, settings.s3_endpoint)
    database = open_database(settings.database_url)
    try:
        yield Registry(database, blobs), blobs
    finally:
        database.close()


def _told(made: Manifest) -> str:
    adapters, versions = made.rows.get("adapters", 0), made.rows.get("versions", 0)
    size = _megabytes(sum(made.blobs.values()))
    return f"{adapters} adapters with {versions} versions and {len(made.blobs)} blobs of {size}, schema {made.schema}"


def _line(blob: CheckedBlob) -> str:
    reason = f" ({blob.reason})" if blob.reason else ""
    return f"{blob.verdict}: sha256:{blob.digest} of {', '.join(blob.references)}{reason}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
