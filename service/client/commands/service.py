"""The commands about the service itself: where it is, what it hosts, whether all is well."""

import csv
import json
from dataclasses import fields
from datetime import datetime
from enum import StrEnum
from importlib.metadata import version
from typing import Annotated

import typer

from service.client.commands.output import AsFormat, Format, counted, print_items, print_table
from service.client.commands.progress import step_bar
from service.client.commands.session import Session, client_of, config_path, session_of
from service.client.usage_calls import Used


class UsageFormat(StrEnum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def add_to(app: typer.Typer) -> None:
    app.command()(login)
    app.command()(config)
    app.command()(models)
    app.command()(load)
    app.command()(unload)
    app.command()(usage)
    app.command()(doctor)


def login(
    context: typer.Context,
    url: Annotated[str | None, typer.Argument(help="The service's address.")] = None,
    key_stdin: Annotated[bool, typer.Option("--key-stdin", help="Read the key from standard input.")] = False,
) -> None:
    """Remember an address and a key for the commands that follow. An empty key is none."""
    prompt = typer.get_text_stream("stdin").readline if key_stdin else _ask_key
    session = Session((url or session_of(context).url).rstrip("/"), prompt().strip() or None, "login", "login")
    with session.client() as client:
        hosted = counted(sum(1 for _ in client.models.list()), "base model")
    place = session.remember()
    typer.echo(f"{session.url} answers and hosts {hosted}. Remembered in {place}.")


def config(context: typer.Context) -> None:
    """The address and the key that commands use, and where each was set. The key itself is not shown."""
    session = session_of(context)
    typer.echo(f"address   {session.url} ({session.url_from})")
    typer.echo(f"key       {f'from {session.key_from}' if session.key else 'none'}")
    typer.echo(f"file      {config_path()}{'' if config_path().is_file() else ', which is not there'}")


def usage(
    context: typer.Context,
    by: Annotated[str, typer.Option(help="team, model, adapter, version, key, hour; several split at commas.")] = "",
    since: Annotated[datetime | None, typer.Option("--from", help="From the hour of this time on, UTC.")] = None,
    until: Annotated[datetime | None, typer.Option("--to", help="Hours that begin before this time, UTC.")] = None,
    shape: Annotated[UsageFormat, typer.Option("--format", help="A table, JSON or CSV.")] = UsageFormat.TABLE,
) -> None:
    """What was used: requests, rows, tokens, seconds, stored byte-hours."""
    parts = [part.strip() for part in by.split(",") if part.strip()]
    used = client_of(context).usage(*parts, since=since, until=until)
    counts = tuple(field.name for field in fields(Used) if field.name != "raw")
    rows = [[*(one.raw[part] for part in parts), *(getattr(one, count) for count in counts)] for one in used]
    if shape is UsageFormat.JSON:
        typer.echo(json.dumps([one.raw for one in used], indent=2))
    elif shape is UsageFormat.CSV:
        csv.writer(typer.get_text_stream("stdout"), lineterminator="\n").writerows([[*parts, *counts], *rows])
    else:
        head = [name.replace("_", " ").upper() for name in (*parts, *counts)]
        print_table(head, ([f"{cell:,.6g}" if isinstance(cell, float) else cell for cell in row] for row in rows))


def models(context: typer.Context, shape: AsFormat = Format.TABLE) -> None:
    """The base models that the service hosts."""
    found = client_of(context).models.list()
    print_items(found, shape, ("MODEL", "STATE", "TASK", "REASON"), lambda m: (m.id, m.state, m.task, m.reason))


def load(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="The base model.")],
    adapter: Annotated[str | None, typer.Argument(help="An adapter on it, whose newest version is loaded too.")] = None,
    pin: Annotated[bool, typer.Option("--pin", help="The adapter stays in memory until it is unloaded.")] = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the model.")] = 600.0,
) -> None:
    """Bring a base model into memory, and an adapter, and wait until they are there."""
    client = client_of(context)
    with step_bar(f"Loading {model}") as watch:
        state = client.models.load(model, wait_s=wait, progress=watch).state
    if state == "ready" and adapter is not None:
        state = str(client.adapters.load(adapter, model=model, pin=pin).raw["residency"])
    typer.echo(f"{adapter or model} is {state}")


def unload(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="The base model.")],
    adapter: Annotated[str | None, typer.Argument(help="Only this adapter on it.")] = None,
) -> None:
    """Take a base model, or one adapter on it, out of memory. What is stored stays."""
    client = client_of(context)
    if adapter is None:
        typer.echo(f"{model} is {client.models.unload(model).state}")
    else:
        typer.echo(f"{adapter} is {client.adapters.unload(adapter, model=model).raw['residency']}")


def doctor(context: typer.Context) -> None:
    """Whether the service answers, takes the key, has this command's version, and which of its parts are away."""
    session, client = session_of(context), client_of(context)
    own = version("adapter-service")
    typer.echo(f"address   {session.url}")
    typer.echo(f"key       {'sent' if session.key else 'none: set ADAPTERS_KEY or run `adapters login`'}")
    state = client.state()
    stale = "" if state.version == own else f", this command's is {own}: install the same"
    typer.echo(f"version   {state.version}{stale}")
    typer.echo(f"health    {'; '.join(state.degraded) or 'all is well'}")
    for model in client.models.list():
        typer.echo(f"model     {model.id}: {model.state}" + (f" ({model.reason})" if model.reason else ""))


def _ask_key() -> str:
    return typer.prompt("Key (empty for none)", default="", hide_input=True, show_default=False)
