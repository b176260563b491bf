"""adapterctl: start the service, check its settings, print its OpenAPI document; other commands are beside this file.

What a command needs is imported when it runs: torch and transformers take seconds, in which `serve` has already said
what it starts and has found out whether its port is free.
"""

import gc
import logging
import os
import socket
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from models_registry.errors import RegistryError
from service import access_commands, cluster_commands, store_commands
from service.banner import banner
from service.command_settings import settings_of
from service.listening import bound_sockets
from service.log import adopt_loggers, quiet_libraries
from service.secret_values import redactor_of
from service.setting_flags import FLAGS, setting_flags
from service.settings import Settings

log = logging.getLogger(__name__)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they would show what is in the settings
)

store_commands.add_to(app)
app.add_typer(access_commands.keys, name="keys")
app.add_typer(access_commands.teams, name="teams")
app.add_typer(cluster_commands.cluster, name="cluster")


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
    """The Adapter Service. Every flag is also an environment variable, ADAPTER_SERVICE_…, and a line below [service] in
    ~/.config/adapterctl/config.toml; a flag goes before the environment, and this before the file."""


@app.command()
@setting_flags(*FLAGS)
def serve(**flags: Any) -> None:
    """Start the service. It hosts what its registry holds."""
    settings = settings_of(**flags)
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
        gc.disable()  # what is imported stays, and to look for garbage in it takes a sixth of the time
        from service.bootstrap import create_app
        from service.server import run_server

        gc.enable()
        adopt_loggers("transformers", "accelerate")
        served = create_app(settings)
        run_server(served, served.state.drain, sockets, settings.drain_delay)


@app.command("check-config")
@setting_flags(*FLAGS)
def check_config(**flags: Any) -> None:
    """Say every setting that is wrong, whether both stores can be reached, and what `serve` would do. Changes nothing;
    ends with 1 where `serve` would not start."""
    settings = settings_of(**flags)

    from service.config_check import check

    sys.exit(0 if check(settings, typer.echo) else 1)


@app.command("version")
def tell_version() -> None:
    """Print the version, and the database schema that it needs."""
    from models_registry.storage.database import newest_schema

    typer.echo(f"adapter-service {version('adapter-service')}, schema {newest_schema()}")


@app.command()
def openapi(
    file: Annotated[Path | None, typer.Argument(help="Where to write it; by default to the terminal.")] = None,
) -> None:
    """Export the OpenAPI document."""
    settings = settings_of()

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
    except Exception:  # unexpected, and the interpreter's own report would show secrets
        log.critical("adapterctl failed", exc_info=True)
        code = 1
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not by way of the interpreter's end: a forward that outlived its grace still runs in a thread of its own, and
    # taking the interpreter down beside it aborts the process.
    os._exit(code)
