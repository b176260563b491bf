"""The commands about the service itself: where it is, what it hosts, whether all is well."""

from importlib.metadata import version
from typing import Annotated

import typer

from service.client.commands.output import AsFormat, Format, counted, print_items
from service.client.commands.session import Session, client_of, session_of


def add_to(app: typer.Typer) -> None:
    app.command()(login)
    app.command()(models)
    app.command()(doctor)


def login(
    context: typer.Context,
    url: Annotated[str | None, typer.Argument(help="The service's address.")] = None,
    key_stdin: Annotated[bool, typer.Option("--key-stdin", help="Read the key from standard input.")] = False,
) -> None:
    """Remember an address and a key for the commands that follow. An empty key is none."""
    prompt = typer.get_text_stream("stdin").readline if key_stdin else _ask_key
    session = Session((url or session_of(context).url).rstrip("/"), prompt().strip() or None)
    with session.client() as client:
        hosted = counted(sum(1 for _ in client.models.list()), "base model")
    place = session.remember()
    typer.echo(f"{session.url} answers and hosts {hosted}. Remembered in {place}.")


def models(context: typer.Context, shape: AsFormat = Format.TABLE) -> None:
    """The base models that the service hosts."""
    found = client_of(context).models.list()
    print_items(found, shape, ("MODEL", "STATE", "TASK", "REASON"), lambda m: (m.id, m.state, m.task, m.reason))


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
