"""The commands that move an adapter's files: check and push, pull, convert."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from service.client.commands.output import counted
from service.client.commands.progress import progress_bar
from service.client.commands.session import client_of
from service.client.conversion import convert as convert_weights
from service.client.records import Pushed


def add_to(app: typer.Typer) -> None:
    app.command()(push)
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
    """Store a trained adapter: a new one, or the next version of it. Says first what that would do."""
    client, notes = client_of(context), _object(metadata)
    with progress_bar("Checking") as watch:
        planned = client.adapters.check(name, directory, model=base, progress=watch)
    typer.echo(_plan_of(planned), err=True)
    for warning in planned.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if not planned.unchanged and not yes:
        typer.confirm("Push?", abort=True, err=True)
    pushed = planned
    if not planned.unchanged:
        with progress_bar("Pushing") as watch:
            pushed = client.adapters.push(name, directory, model=base, metadata=notes, reason=reason, progress=watch)
    typer.echo(pushed.version.reference)


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


def _plan_of(planned: Pushed) -> str:
    version = planned.version
    if planned.unchanged:
        return f"{version.reference} has these bytes and this config already."
    what = f"{version.method}, {counted(version.parameters, 'parameter')}, {counted(version.bytes, 'byte')}"
    if version.version == 1:
        return f"A new adapter {planned.name} on {planned.model}: {what}."
    return f"Version {version.version} over {version.version - 1} of {planned.name} on {planned.model}: {what}."


def _object(written: str) -> dict[str, Any]:
    value = json.loads(written)
    if not isinstance(value, dict):
        raise TypeError(f'--metadata takes a JSON object, as in {{"run": 7}}, not {written}.')
    return value
