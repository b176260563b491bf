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
    alias.command()(split)
    alias.command()(show)
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


def split(
    context: typer.Context,
    name: Name,
    alias: Alias,
    shares: Annotated[list[str], typer.Argument(help="version=share, as in 3=0.9 4=0.1; they add up to 1.")],
    shadow: Annotated[int | None, typer.Option(help="A version on which requests are run too, to compare.")] = None,
    shadow_share: Annotated[float | None, typer.Option(help="Of how many requests; by default 0.1.")] = None,
    reason: Reason = None,
) -> None:
    """Divide the requests of name@alias between versions, or have a shadow run beside one (`3=1 --shadow 4`)."""
    versions: dict[int, float] = {}
    for written in shares:
        version, equals, share = written.partition("=")
        if not (equals and version.isdecimal()):
            raise ValueError(f"{written!r} is no share: write version=share, as in 3=0.9.")
        versions[int(version)] = float(share)
    rollout = client_of(context).rollouts.split(
        name, alias, versions, shadow=shadow, shadow_share=shadow_share, reason=reason
    )
    typer.echo(f"{name}@{alias} is {_reference(name, rollout)}")


def show(context: typer.Context, name: Name, alias: Alias) -> None:
    """The versions of an alias with their requests, errors and latencies, and how a shadow's answers compare."""
    found = client_of(context).rollouts.compare(name, alias)
    print_table(
        ("VERSION", "SHARE", "REQUESTS", "ERRORS", "P50 MS", "P95 MS"),
        ((v.version, f"{v.share:.4g}", v.requests, v.errors, _ms(v.p50_ms), _ms(v.p95_ms)) for v in found.versions),
    )
    if found.shadows:
        print_table(
            ("SHADOW", "BESIDE", "EQUAL", "CLOSE", "DIFFERENT", "FAILED", "DROPPED"),
            ((s.version, s.against, s.equal, s.close, s.different, s.failed, s.dropped) for s in found.shadows),
        )


def delete(context: typer.Context, name: Name, alias: Alias, reason: Reason = None) -> None:
    """Forget an alias; its version stays."""
    client_of(context).adapters.delete_alias(name, alias, reason=reason)


def history(context: typer.Context, name: Name, alias: Alias) -> None:
    """When an alias was moved, from where to where, by whom and why; the newest first."""
    moves = reversed(_moves(client_of(context), name, alias))
    print_table(("WHEN", "FROM", "TO", "BY", "WHY"), (_cells(move) for move in moves))


def rollback(context: typer.Context, name: Name, alias: Alias, reason: Reason = None) -> None:
    """Let an alias be what it was before its last move; each further call undoes one more move."""
    rollout = client_of(context).adapters.rollback(name, alias, reason=reason)
    typer.echo(f"{name}@{alias} is {_reference(name, rollout)}")


def _reference(name: str, rollout: Rollout) -> str:
    if rollout.shadow is None and len(rollout.versions) == 1:
        return f"{name}@{next(iter(rollout.versions))}"
    return f"{name}@({_shares(rollout)})"


def _shares(rollout: Rollout) -> str:
    shares = [f"{version}: {share:.4g}" for version, share in rollout.versions.items()]
    return ", ".join(shares if rollout.shadow is None else [*shares, f"shadow {rollout.shadow}"])


def _told(target: Any) -> object:
    """Where an alias points or pointed, as the log has it: a version's number, or shares."""
    if target is None or isinstance(target, int):
        return target
    return _shares(Rollout.read(target))


def _moves(client: Client, name: str, alias: str) -> list[Event]:
    moves = client.events.list(adapter=name, kind="alias.moved")
    return [event for event in moves if event.subject == f"{name}@{alias}"]


def _cells(move: Event) -> tuple[object, ...]:
    why = move.raw.get("reason") or move.detail.get("reason") or ("rolled back" if "undoes" in move.detail else None)
    return (move.at, _told(move.detail.get("from")), _told(move.detail.get("to")), move.by, why)


def _ms(milliseconds: float | None) -> str:
    return "-" if milliseconds is None else f"{milliseconds:.1f}"
