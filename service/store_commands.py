"""adapterctl's commands about the stores: check and clear blobs, back up, restore."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from service.command_settings import STORES, explained, settings_of
from service.setting_flags import setting_flags


def add_to(app: typer.Typer) -> None:
    app.command()(migrate)
    app.command()(fsck)
    app.command()(gc)
    app.command()(backup)
    app.command()(restore)


@setting_flags("database_url")
def migrate(**flags: Any) -> None:
    """Bring the database to this version's schema."""
    settings = settings_of(**flags)

    from models_registry.storage.database import migrate as migrate_database

    with explained():
        migrate_database(settings.database_url)
    typer.echo("The database is at this version's schema.")


@setting_flags(*STORES)
def fsck(**flags: Any) -> None:
    """Check every version against its blob, beside a running service. Ends with 1 unless all are sound."""
    settings = settings_of(**flags)

    from service.upkeep import check_all

    with explained():
        all_sound = check_all(settings, typer.echo)
    sys.exit(0 if all_sound else 1)


@setting_flags(*STORES)
def gc(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    even_all: Annotated[
        bool, typer.Option("--even-all", help="Also if no version names any of the store's blobs.")
    ] = False,
    **flags: Any,
) -> None:
    """Remove blobs that no version names and nobody put within the hour, beside a running service."""
    settings = settings_of(**flags)

    from service.upkeep import remove_garbage

    with explained():
        remove_garbage(settings, typer.echo, dry_run=dry_run, even_all=even_all)


@setting_flags(*STORES)
def backup(
    *, directory: Annotated[Path, typer.Argument(help="A new or empty directory for this backup.")], **flags: Any
) -> None:
    """Copy registry and blobs as of one moment, beside a running service. The copy fits either kind of database."""
    settings = settings_of(**flags)

    from service.upkeep import back_up_all

    with explained():
        back_up_all(settings, directory, typer.echo)


@setting_flags(*STORES)
def restore(*, directory: Annotated[Path, typer.Argument(help="What `backup` wrote.")], **flags: Any) -> None:
    """Bring a backup into an empty database and a blob store, which may have blobs already."""
    settings = settings_of(**flags)

    from service.upkeep import restore_all

    with explained():
        restore_all(settings, directory, typer.echo)
