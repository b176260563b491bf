"""The commands about adapters: find, show, label, compose, delete, and their history."""

import json
from typing import Annotated, TypeAlias

import typer

from service.client.commands.output import AsFormat, Format, print_items, print_table
from service.client.commands.session import client_of
from service.client.event_calls import Event
from service.client.records import Adapter, Version

Name: TypeAlias = Annotated[str, typer.Argument(help="The adapter's name.")]
Reference: TypeAlias = Annotated[str, typer.Argument(help="tone, tone@3 or tone@prod.")]


def add_to(app: typer.Typer) -> None:
    app.command("list")(list_adapters)
    app.command()(show)
    app.command()(label)
    app.command()(compose)
    app.command()(delete)
    app.command()(log)


def list_adapters(
    context: typer.Context,
    model: Annotated[str | None, typer.Option(help="Only those of this base model.")] = None,
    labels: Annotated[str | None, typer.Option("--labels", "-l", help="As in stage=prod,lang in (de,en),!old.")] = None,
    method: Annotated[str | None, typer.Option(help="LORA, ADALORA or IA3.")] = None,
    text: Annotated[str | None, typer.Option("--text", help="In the name or the description.")] = None,
    sort: Annotated[str | None, typer.Option(help="name, created or used; -used: the newest first.")] = None,
    shape: AsFormat = Format.TABLE,
) -> None:
    """The adapters that you may use."""
    given = {"labels": labels, "method": method and method.upper(), "q": text, "sort": sort}
    filters = {name: value for name, value in given.items() if value is not None}
    head = ("ADAPTER", "MODEL", "NEWEST", "METHOD", "ALIASES", "LABELS")
    print_items(client_of(context).adapters.list(model=model, **filters), shape, head, _cells)


def show(context: typer.Context, name: Name, shape: AsFormat = Format.TABLE) -> None:
    """One adapter: what its team says of it, its versions and aliases."""
    adapter = client_of(context).adapters.get(name)
    if shape is not Format.TABLE:
        print_items([adapter], shape, (), _cells)
        return
    typer.echo(f"{adapter.name} on {adapter.model}, {adapter.raw.get('visibility', 'private')}")
    for word in ("description", "owner"):
        if adapter.raw.get(word):
            typer.echo(f"{word}: {adapter.raw[word]}")
    aliases = {version.version: [] for version in adapter.versions}
    for alias, number in adapter.aliases.items():
        aliases.get(number, []).append(alias)
    head = ("VERSION", "METHOD", "PARAMETERS", "BYTES", "CREATED", "BY", "ALIASES", "DIGEST")
    print_table(head, (_version_cells(version, aliases[version.version]) for version in adapter.versions))


def label(
    context: typer.Context,
    name: Name,
    labels: Annotated[list[str], typer.Argument(help="key=value sets one, key- takes it away.")],
) -> None:
    """Change an adapter's labels."""
    client = client_of(context)
    found: dict[str, str] = dict(client.adapters.get(name).raw.get("labels") or {})
    for written in labels:
        key, equals, value = written.partition("=")
        if equals:
            found[key] = value
        elif written.endswith("-"):
            found.pop(written[:-1], None)
        else:
            raise ValueError(f"{written!r} is no label: write key=value, or key- to take it away.")
    client.adapters.describe(name, labels=found)
    typer.echo(_labels(found))


def compose(
    context: typer.Context,
    name: Name,
    parts: Annotated[list[str], typer.Argument(help="reference=weight, as in tone@prod=0.7.")],
    base: Annotated[str, typer.Option(help="The base model of them all.")],
    method: Annotated[str, typer.Option(help="cat, svd, linear, ties, dare_linear, dare_ties.")] = "cat",
) -> None:
    """Merge stored adapters into a new one."""
    weights: dict[str, float] = {}
    for part in parts:
        reference, equals, weight = part.rpartition("=")
        if not equals:
            raise ValueError(f"{part!r} is no part: write reference=weight, as in tone@prod=0.7.")
        weights[reference] = float(weight)
    pushed = client_of(context).adapters.compose(name, weights, model=base, method=method)
    typer.echo(pushed.version.reference)


def delete(
    context: typer.Context,
    reference: Annotated[str, typer.Argument(help="tone, or one version of it: tone@3.")],
    drain: Annotated[bool, typer.Option("--drain", help="Wait for the requests that use it; aliases go too.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why; it stands in the history.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Remove an adapter, or one of its versions. Numbers are never used again."""
    name, _, number = reference.partition("@")
    if number and not number.isdecimal():
        raise ValueError(f"{reference!r} is an alias: delete a version (tone@3), or `adapters alias delete`.")
    if not yes:
        typer.confirm(f"Delete {reference}?", abort=True, err=True)
    client_of(context).adapters.delete(name, version=int(number) if number else None, drain=drain, reason=reason)


def log(
    context: typer.Context,
    name: Name,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with every change as it is made.")] = False,
) -> None:
    """What was done to an adapter, the newest first; with --follow what is done from now on."""
    events = client_of(context).events
    past = list(events.list(adapter=name))
    for event in reversed(past):
        _print_event(event)
    if follow:
        for event in events.follow(adapter=name, after=past[-1].id if past else 0):
            _print_event(event)


def _print_event(event: Event) -> None:
    why = event.raw.get("reason") or event.detail.get("reason")
    typer.echo(f"{event.at}  {event.kind}  {event.subject}  by {event.by or 'nobody named'}")
    detail = {key: value for key, value in event.detail.items() if key != "reason"}
    if detail:
        typer.echo(f"    {json.dumps(detail)}")
    if why:
        typer.echo(f"    {why}")


def _cells(adapter: Adapter) -> tuple[object, ...]:
    aliases = ", ".join(f"{alias}={version}" for alias, version in sorted(adapter.aliases.items()))
    labels = _labels(adapter.raw.get("labels") or {})
    return (adapter.name, adapter.model, adapter.newest.version, adapter.newest.method, aliases, labels)


def _version_cells(version: Version, aliases: list[str]) -> tuple[object, ...]:
    made = (version.created_at, version.raw.get("created_by"), ", ".join(aliases), version.digest[:19])
    return (version.version, version.method, f"{version.parameters:,}", f"{version.bytes:,}", *made)


def _labels(labels: dict[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items()))
