"""The commands that move an adapter's files: push, check, pull, convert."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from service.client.blocking import Client
from service.client.checkpoints import CheckpointFiles
from service.client.commands.output import counted
from service.client.commands.progress import progress_bar
from service.client.commands.session import client_of
from service.client.conversion import convert as convert_weights
from service.client.errors import NotFound
from service.client.records import Pushed


def add_to(app: typer.Typer) -> None:
    app.command()(push)
    app.command()(check)
    app.command()(pull)
    app.command()(convert)


def push(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(help="What PEFT's save_pretrained wrote.")],
    name: Annotated[str, typer.Argument(help="The adapter's name.")],
    base: Annotated[str, typer.Option(help="The base model that a new adapter belongs to.")],
    metadata: Annotated[str, typer.Option(help="JSON that stands beside the version.")] = "{}",
    reason: Annotated[str | None, typer.Option(help="Why; it stands in the history.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Store a trained adapter: a new one, or the next version of it. Nothing is stored where anything is wrong."""
    client, notes, files = client_of(context), _object(metadata), CheckpointFiles.open(directory)
    if not yes:
        typer.echo(_plan_of(client, name, files, base), err=True)
        typer.confirm("Push?", abort=True, err=True)
    with progress_bar("Pushing") as watch:
        pushed = client.adapters.push(name, files, model=base, metadata=notes, reason=reason, progress=watch)
    _say(pushed)


def check(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(help="What PEFT's save_pretrained wrote.")],
    name: Annotated[str, typer.Argument(help="The adapter's name.")],
    base: Annotated[str, typer.Option(help="The base model that a new adapter belongs to.")],
) -> None:
    """Say what a push would come to, and what is wrong. It sends all that a push sends, and stores nothing."""
    with progress_bar("Checking") as watch:
        _say(client_of(context).adapters.check(name, directory, model=base, progress=watch))


def pull(
    context: typer.Context,
    reference: Annotated[str, typer.Argument(help="tone, tone@3 or tone@prod.")],
    directory: Annotated[Path | None, typer.Argument(help="Where to; by default a directory of its name.")] = None,
) -> None:
    """Write PEFT's two files, which `PeftModel.from_pretrained` loads."""
    target = directory or Path(reference.partition("@")[0].replace(":", "-"))
    with progress_bar("Pulling") as watch:
        place = client_of(context).adapters.pull(reference, target, progress=watch)
    typer.echo(place)


def convert(directory: Annotated[Path, typer.Argument(help="One with adapter_model.bin.")]) -> None:
    """Write adapter_model.safetensors beside a pickle, here and with a restricted reader; nothing in it is run."""
    with progress_bar("Converting") as watch:
        written = convert_weights(directory, watch)
    typer.echo(written)


def _plan_of(client: Client, name: str, files: CheckpointFiles, model: str) -> str:
    """What is known before the weights are sent."""
    size = counted(files.size, "byte")
    try:
        known = client.adapters.get(name)
    except NotFound:
        return f"A new adapter {name} on {model}: {size} to send."
    return f"A version of {name} on {known.model} after {known.newest.version}: {size} to send."


def _say(sent: Pushed) -> None:
    typer.echo(_outcome_of(sent), err=True)
    for warning in sent.warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(sent.version.reference)


def _outcome_of(sent: Pushed) -> str:
    version = sent.version
    if sent.unchanged:
        return f"{version.reference} has these bytes and this config already."
    what = f"{version.method}, {counted(version.parameters, 'parameter')}, {counted(version.bytes, 'byte')}"
    if version.version == 1:
        return f"A new adapter {sent.name} on {sent.model}: {what}."
    return f"Version {version.version} over {version.version - 1} of {sent.name} on {sent.model}: {what}."


def _object(written: str) -> dict[str, Any]:
    value = json.loads(written)
    if not isinstance(value, dict):
        raise TypeError(f'--metadata takes a JSON object, as in {{"run": 7}}, not {written}.')
    return value
