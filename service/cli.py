"""adapterctl: start the service, migrate its database, check and clear its blobs, print its OpenAPI document.

What a command needs is imported when it runs: torch and transformers take seconds, in which `serve` has already said
what it starts and has found out whether its port is free.
"""

import logging
import os
import socket
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from models_registry.errors import Invalid, RegistryError
from models_registry.redaction import redacted
from service.banner import banner
from service.environment import injected_by_kubernetes
from service.listening import bound_sockets
from service.log import adopt_loggers, quiet_libraries, start_log
from service.secret_values import redactor_of
from service.setting_flags import FLAGS, setting_flags
from service.settings import Settings, read_settings

log = logging.getLogger(__name__)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they would show what is in the settings
)

keys = typer.Typer(no_args_is_help=True, help="Keys of those who call, also of a service that isn't running.")
app.add_typer(keys, name="keys")

STORES = ("database_url", "blob_url", "s3_endpoint")
"""The settings that say where the registry and its blobs are."""


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(version("adapter-service"))
        raise typer.Exit


@app.callback()
def adapterctl(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """The Adapter Service. Every flag is also an environment variable, ADAPTER_SERVICE_… ."""


@app.command()
@setting_flags(*FLAGS)
def serve(**flags: Any) -> None:
    """Start the service. It hosts what its registry holds."""
    settings = _settings(**flags)
    for line in banner(settings, redactor_of(settings)):
        log.info(line)
    try:
        with bound_sockets(settings.host, settings.port) as sockets:
            _serve(settings, sockets)
    except RegistryError as error:
        log.critical(error.detail)
        sys.exit(2)


def _serve(settings: Settings, sockets: list[socket.socket]) -> None:
    quiet_libraries()

    from models_registry.storage.serving_lock import serving_lock

    with serving_lock(settings.database_url):
        from service.bootstrap import create_app
        from service.server import run_server

        adopt_loggers("transformers", "accelerate")
        served = create_app(settings)
        run_server(served, served.state.drain, sockets, settings.drain_delay)


@app.command()
@setting_flags("database_url")
def migrate(**flags: Any) -> None:
    """Bring the database to this version's schema."""
    settings = _settings(**flags)

    from models_registry.storage.database import migrate as migrate_database

    try:
        migrate_database(settings.database_url)
    except RegistryError as error:
        _fail(error.detail)
    typer.echo("The database is at this version's schema.")


@app.command()
@setting_flags(*STORES)
def fsck(**flags: Any) -> None:
    """Check every version against its blob, beside a running service. Ends with 1 unless all are sound."""
    settings = _settings(**flags)

    from service.upkeep import check_all

    try:
        all_sound = check_all(settings, typer.echo)
    except RegistryError as error:
        _fail(error.detail)
    sys.exit(0 if all_sound else 1)


@app.command()
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
    settings = _settings(**flags)

    from service.upkeep import remove_garbage

    try:
        remove_garbage(settings, typer.echo, dry_run=dry_run, even_all=even_all)
    except RegistryError as error:
        _fail(error.detail)


@keys.command("create")
@setting_flags("database_url")
def create_key(
    *,
    role: Annotated[str, typer.Option(help="reader, caller, publisher or admin.")],
    name: Annotated[str, typer.Option(help="What it is for.")] = "made on the command line",
    team: Annotated[str, typer.Option(help="Whose it is.")] = "default",
    **flags: Any,
) -> None:
    """Make a key and print it, this once. A running service takes it within two seconds."""
    settings = _settings(**flags)

    from service.upkeep import make_key

    try:
        typer.echo(make_key(settings, role, name, team))
    except RegistryError as error:
        _fail(str(error))


@app.command()
def openapi(
    file: Annotated[Path | None, typer.Argument(help="Where to write it; by default to the terminal.")] = None,
) -> None:
    """Export the OpenAPI document."""
    settings = _settings()

    from service.bootstrap import create_app
    from service.front.api.openapi import export_document

    document = export_document(create_app(settings))
    if file is None:
        typer.echo(document, nl=False)
    else:
        file.write_text(document, encoding="utf-8")


@app.command("settings-page", hidden=True)
def settings_page(page: Annotated[Path, typer.Argument(help="docs/operations/settings.md")]) -> None:
    """Write the table of settings into its page of the documentation."""
    from service.settings_table import with_table

    page.write_text(with_table(page.read_text(encoding="utf-8")), encoding="utf-8")


def main() -> None:
    """Runs the command and ends the process."""
    try:
        app()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except Exception:  # nobody foresaw it, and the interpreter's own report would hide no secret
        log.critical("adapterctl failed", exc_info=True)
        code = 1
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not by way of the interpreter's end: a forward that outlived its grace still runs in a thread of its own, and
    # taking the interpreter down beside it aborts the process.
    os._exit(code)


def _settings(**flags: Any) -> Settings:
    """Flags go before the environment. Starts the log. Ends the process with every setting that is wrong."""
    try:
        settings = read_settings(**flags)
    except Invalid as error:
        _fail(str(error))
    start_log(settings.log_format, redactor_of(settings))
    if injected := injected_by_kubernetes(os.environ):
        log.info("Ignored, as Kubernetes sets them for a Service of this name: %s.", ", ".join(injected))
    return settings


def _fail(message: str) -> NoReturn:
    typer.echo(redacted(message), err=True)
    sys.exit(2)
