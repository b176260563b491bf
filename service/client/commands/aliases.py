"""The commands that roll out and back: aliases."""

from typing import Annotated, Any, TypeAlias

import typer

from service.client.blocking import Client
from service.client.commands.output import print_table
from service.client.commands.session import client_of
from service.client.event_calls import Event
from service.client.rollout_calls import Rollout

Name: TypeAlias = Annotated[str, typer.Argument(help="The adapter's name.")]
Alias: TypeAlias = Annotated[str, typer.Argument(help="The alias, as in prod.")]
Reason: TypeAlias = Annotated[str | None, typer.Option(help="Why; it stands in the history.")]


def add_to(app: typer.Typer) -> None:
    alias = typer.Typer(no_args_is_help=True, help="Movable names of versions.", rich_markup_mode=None)
    alias.command("set")(set_alias)
    alias.command("delete")(delete)
    alias.command()(history)
    app.add_typer(alias, name="alias")
    app.command()(rollback)


def set_alias(
    context: typer.Context,
    name: Name,
    alias: Alias,
    version: Annotated[int, typer.Argument(help="The version that it is from now on.")],
    reason: Reason = None,
) -> None:
    """Let name@alias be that version, in one step."""
    client_of(context).adapters.promote(name, version, alias=alias, reason=reason)
    typer.echo(f"{name}@{alias} is {name}@{version}")


def delete(context: typer.Context, name: Name, alias: Alias) -> None:
    """Forget an alias; its version stays."""
    client_of(context).adapters.delete_alias(name, alias)


def history(context: typer.Context, name: Name, alias: Alias) -> None:
    """When an alias was moved, from where to where, by whom and why; the newest first."""
    moves = reversed(_moves(client_of(context), name, alias))
    print_table(("WHEN", "FROM", "TO", "BY", "WHY"), (_cells(move) for move in moves))


def rollback(context: typer.Context, name: Name, alias: Alias, reason: Reason = None) -> None:
    """Let an alias be what it was before its last move."""
    client = client_of(context)
    moves = _moves(client, name, alias)
    before = moves[-1].detail.get("from") if moves else None
    if before is None:
        raise ValueError(f"{name}@{alias} was never moved, so there is nothing to go back to.")
    if isinstance(before, int):
        client.adapters.promote(name, before, alias=alias, reason=reason or "rollback")
    else:
        rollout = Rollout.read(before)
        client.rollouts.split(
            name,
            alias,
            rollout.versions,
            shadow=rollout.shadow,
            shadow_share=rollout.shadow_share,
            reason=reason or "rollback",
        )
    typer.echo(f"{name}@{alias} is {name}@{before if isinstance(before, int) else f'({_told(before)})'}")


def _told(target: Any) -> object:
    """Where an alias points or pointed, as the log has it: a version's number, or shares."""
    if target is None or isinstance(target, int):
        return target
    rollout = Rollout.read(target)
    shares = [f"{version}: {share:.4g}" for version, share in rollout.versions.items()]
    return ", ".join(shares if rollout.shadow is None else [*shares, f"shadow {rollout.shadow}"])


def _moves(client: Client, name: str, alias: str) -> list[Event]:
    subject = f"{name}@{alias}"
    return [event for event in client.events.list() if event.subject == subject and event.kind == "alias.moved"]


def _cells(move: Event) -> tuple[object, ...]:
    why = move.raw.get("reason") or move.detail.get("reason")
    return (move.at, _told(move.detail.get("from")), _told(move.detail.get("to")), move.by, why)
