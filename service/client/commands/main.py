"""The command itself: which commands there are, and what each failure says and ends with.

Exit codes: 0 done, 1 the service refused it or something here is wrong, 2 the command was written wrongly, 3 nobody
answers or the service is busy, 4 the key isn't valid or may not do this.
"""

import sys
from importlib.metadata import version
from typing import Annotated, Final

import typer

from service.client.commands import adapters, aliases, differences, service, texts, transfers
from service.client.commands.session import Session
from service.client.errors import ClientError, Forbidden, Overloaded, Unauthorized, Unavailable, Unreachable

REFUSED: Final = 1
AWAY: Final = 3
NOT_ALLOWED: Final = 4

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
for resource in (service, transfers, adapters, differences, aliases, texts):
    resource.add_to(app)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(version("adapter-service"))
        raise typer.Exit


@app.callback()
def adapters_command(
    context: typer.Context,
    url: Annotated[str | None, typer.Option(envvar="ADAPTERS_URL", help="The service's address.")] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Adapters on hosted base models: push, pull, ask, chat, roll out, roll back.

    The address is --url, ADAPTERS_URL or what `adapters login` remembers; the key ADAPTERS_KEY or what it remembers.
    """
    context.obj = Session.open(url)


def main() -> None:
    """Runs the command and ends the process."""
    try:
        app()
    except (ClientError, OSError, TypeError, ValueError) as error:
        typer.echo(str(error), err=True)
        sys.exit(_code_of(error))


def _code_of(error: Exception) -> int:
    if isinstance(error, Unauthorized | Forbidden):
        return NOT_ALLOWED
    return AWAY if isinstance(error, Unreachable | Overloaded | Unavailable) else REFUSED
