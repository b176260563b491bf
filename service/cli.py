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
from service.settings import Settings, read_settings

log = logging.getLogger(__name__)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they would show what is in the settings
)

keys = typer.Typer(no_args_is_help=True, help="Keys of those who call, also of a service that isn't running.")
app.add_typer(keys, name="keys")

DatabaseUrl = Annotated[str | None, typer.Option(help="sqlite:///path or postgresql://…")]
BlobUrl = Annotated[str | None, typer.Option(help="file:directory or s3://bucket/prefix")]
S3Endpoint = Annotated[str | None, typer.Option(help="For S3 that isn't Amazon's.")]


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
def serve(  # noqa: PLR0913 - one parameter a flag is how typer reads them
    *,
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="The port to listen on.")] = None,
    database_url: DatabaseUrl = None,
    migrate: Annotated[
        bool | None, typer.Option("--migrate", help="Bring Postgres to this version's schema first; SQLite always is.")
    ] = None,
    blob_url: BlobUrl = None,
    s3_endpoint: S3Endpoint = None,
    model_roots: Annotated[str | None, typer.Option(help="Directories for base models, split at ':'.")] = None,
    factories: Annotated[str | None, typer.Option(help="Allowed package.module:callable, split at ','.")] = None,
    transport: Annotated[str | None, typer.Option(help="local_process, or in_process: no process a model.")] = None,
    load_timeout: Annotated[float | None, typer.Option(help="Seconds that a model may take to be built.")] = None,
    forward_timeout: Annotated[float | None, typer.Option(help="Seconds that a forward may take.")] = None,
    parallel_loads: Annotated[int | None, typer.Option(help="Models that are built at a time.")] = None,
    host_memory: Annotated[str | None, typer.Option(help="What each model's process may have; 8GiB.")] = None,
    host_environment: Annotated[
        str | None, typer.Option(help="Variables that models' processes get besides the usual ones, split at ','.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1")] = None,
    max_upload_bytes: Annotated[
        str | None, typer.Option(help="Larger bodies are refused; 512MiB is a number too.")
    ] = None,
    max_json_bytes: Annotated[str | None, typer.Option(help="Larger JSON bodies are refused.")] = None,
    max_resident_bytes: Annotated[str | None, typer.Option(help="Adapters in memory; the rest is evicted.")] = None,
    max_merged_bytes: Annotated[
        str | None, typer.Option(help="Copies of layers with a hot adapter in their weights; 0 for none.")
    ] = None,
    max_cache_bytes: Annotated[str | None, typer.Option(help="Keys and values of texts that are written.")] = None,
    max_batch_rows: Annotated[int | None, typer.Option(help="Rows in one forward.")] = None,
    max_request_rows: Annotated[int | None, typer.Option(help="Requests of more rows are refused.")] = None,
    max_queue: Annotated[int | None, typer.Option(help="Requests that may wait for one model.")] = None,
    lora_root: Annotated[
        str | None, typer.Option(help="Adapters below this directory may be loaded by /v1/load_lora_adapter.")
    ] = None,
    log_format: Annotated[str | None, typer.Option(help="text, or json: one object a line.")] = None,
    drain_delay: Annotated[
        float | None, typer.Option(help="Seconds after SIGTERM in which new requests are still answered.")
    ] = None,
    root_path: Annotated[str | None, typer.Option(help="The path under which a proxy publishes the service.")] = None,
    allow_anonymous: Annotated[
        str | None, typer.Option(help="The role of callers without a key: reader, caller, publisher, admin.")
    ] = None,
) -> None:
    """Start the service. It hosts what its registry holds."""
    settings = _settings(
        host=host,
        port=port,
        database_url=database_url,
        migrate=migrate,
        blob_url=blob_url,
        s3_endpoint=s3_endpoint,
        model_roots=model_roots,
        factories=factories,
        transport=transport,
        load_timeout=load_timeout,
        forward_timeout=forward_timeout,
        parallel_loads=parallel_loads,
        host_memory=host_memory,
        host_environment=host_environment,
        device=device,
        max_upload_bytes=max_upload_bytes,
        max_json_bytes=max_json_bytes,
        max_resident_bytes=max_resident_bytes,
        max_merged_bytes=max_merged_bytes,
        max_cache_bytes=max_cache_bytes,
        max_batch_rows=max_batch_rows,
        max_request_rows=max_request_rows,
        max_queue=max_queue,
        lora_root=lora_root,
        log_format=log_format,
        drain_delay=drain_delay,
        root_path=root_path,
        allow_anonymous=allow_anonymous,
    )
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
def migrate(database_url: DatabaseUrl = None) -> None:
    """Bring the database to this version's schema."""
    settings = _settings(database_url=database_url)

    from models_registry.storage.database import migrate as migrate_database

    try:
        migrate_database(settings.database_url)
    except RegistryError as error:
        _fail(error.detail)
    typer.echo("The database is at this version's schema.")


@app.command()
def fsck(database_url: DatabaseUrl = None, blob_url: BlobUrl = None, s3_endpoint: S3Endpoint = None) -> None:
    """Check every version against its blob, beside a running service. Ends with 1 unless all are sound."""
    settings = _settings(database_url=database_url, blob_url=blob_url, s3_endpoint=s3_endpoint)

    from service.upkeep import check_all

    try:
        all_sound = check_all(settings, typer.echo)
    except RegistryError as error:
        _fail(error.detail)
    sys.exit(0 if all_sound else 1)


@app.command()
def gc(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    even_all: Annotated[
        bool, typer.Option("--even-all", help="Also if no version names any of the store's blobs.")
    ] = False,
    database_url: DatabaseUrl = None,
    blob_url: BlobUrl = None,
    s3_endpoint: S3Endpoint = None,
) -> None:
    """Remove blobs that no version names and nobody put within the hour, beside a running service."""
    settings = _settings(database_url=database_url, blob_url=blob_url, s3_endpoint=s3_endpoint)

    from service.upkeep import remove_garbage

    try:
        remove_garbage(settings, typer.echo, dry_run=dry_run, even_all=even_all)
    except RegistryError as error:
        _fail(error.detail)


@keys.command("create")
def create_key(
    role: Annotated[str, typer.Option(help="reader, caller, publisher or admin.")],
    name: Annotated[str, typer.Option(help="What it is for.")] = "made on the command line",
    team: Annotated[str, typer.Option(help="Whose it is.")] = "default",
    database_url: DatabaseUrl = None,
) -> None:
    """Make a key and print it, this once. A running service takes it within two seconds."""
    settings = _settings(database_url=database_url)

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
        settings = read_settings(**{name: value for name, value in flags.items() if value is not None})
    except Invalid as error:
        _fail(str(error))
    start_log(settings.log_format, redactor_of(settings))
    if injected := injected_by_kubernetes(os.environ):
        log.info("Ignored, as Kubernetes sets them for a Service of this name: %s.", ", ".join(injected))
    return settings


def _fail(message: str) -> NoReturn:
    typer.echo(redacted(message), err=True)
    sys.exit(2)
