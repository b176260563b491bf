"""adapterctl's commands about more than one machine."""

import sys
from typing import Annotated, Any

import typer

from service.command_settings import explained, fail, settings_of
from service.environment import PREFIX
from service.setting_flags import FLAGS, setting_flags

cluster = typer.Typer(no_args_is_help=True, help="The service on Ray Serve: fronts, and replicas of base models.")


@cluster.command("up")
@setting_flags(*FLAGS)
def up(
    *,
    fronts: Annotated[int, typer.Option(min=1, help="Processes that answer callers.")] = 2,
    replicas: Annotated[int, typer.Option(min=1, help="Of each base model that says nothing of its own.")] = 1,
    address: Annotated[str | None, typer.Option(help="A running Ray; by default one is started here.")] = None,
    cpus: Annotated[int | None, typer.Option(min=1, help="Of a Ray that is started here; by default all.")] = None,
    **flags: Any,
) -> None:
    """Start the service on Ray Serve, and end it with this command. Its processes read the settings from their own
    machine's environment, so that a running Ray must have been started with them."""
    settings = settings_of(**flags)
    if address is not None and flags:
        fail(f"With --address, settings come from the environment of Ray's processes: set {PREFIX}… there.")
    try:
        from service.cluster.running import run_cluster
    except ModuleNotFoundError as error:
        fail(f"A cluster needs Ray Serve ({error.name} is missing): pip install 'adapter-service[cluster]'")
    with explained():
        run_cluster(settings, {"fronts": fronts, "replicas": replicas}, address, cpus, flags)
    sys.exit(0)


@cluster.command("roll")
def roll(
    *,
    address: Annotated[str, typer.Option(help="The running Ray, as host:port.")],
    fronts: Annotated[int, typer.Option(min=1, help="Processes that answer callers.")] = 2,
    replicas: Annotated[int, typer.Option(min=1, help="Of each base model that says nothing of its own.")] = 1,
) -> None:
    """Replace all processes of a running cluster by ones with the code that is installed now, a few at a time, while
    it goes on answering."""
    settings = settings_of()
    try:
        from service.cluster.rolling import roll_cluster
    except ModuleNotFoundError as error:
        fail(f"A cluster needs Ray Serve ({error.name} is missing): pip install 'adapter-service[cluster]'")
    with explained():
        roll_cluster(settings, {"fronts": fronts, "replicas": replicas}, address)
