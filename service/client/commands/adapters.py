"""The commands about adapters: find, show, push, pull, label, compose, delete, and their history."""

import json
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from service.client.commands.output import AsFormat, Format, counted, print_items, print_table
from service.client.commands.session import client_of
from service.client.event_calls import Event
from service.client.records import Adapter, Pushed, Version

Name: TypeAlias = Annotated[str, typer.Argument(help="The adapter's name.")]
Reference: TypeAlias = Annotated[str, typer.Argument(help="tone, tone@3 or tone@prod.")]


def add_to(app: typer.Typer) -> None:
    app.command("list")(list_adapters)
    app.command()(show)
    app.command()(push)
    app.command()(pull)
    app.command()(diff)
    app.command()(label)
    app.command()(compose)
    app.command()(delete)
    app.command()(log)


def list_adapters(
    context: typer.Context,
    model: Annotated[str | None, typer.Option(help="Only those of this base model.")] = None,
    shape: AsFormat = Format.TABLE,
) -> None:
    """The adapters that you may use."""
    head = ("ADAPTER", "MODEL", "NEWEST", "METHOD", "ALIASES", "LABELS")
    print_items(client_of(context).adapters.list(model=model), shape, head, _cells)


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


def push(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(help="What PEFT's save_pretrained wrote.")],
    name: Name,
    base: Annotated[str, typer.Option(help="The base model that a new adapter belongs to.")],
    metadata: Annotated[str, typer.Option(help="JSON that stands beside the version.")] = "{}",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Store a trained adapter: a new one, or the next version of it. Says first what that would come to."""
    client, notes = client_of(context), _object(metadata)
    planned = client.adapters.check(name, directory, model=base)
    typer.echo(_plan_of(planned), err=True)
    for warning in planned.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if not planned.unchanged and not yes:
        typer.confirm("Push?", abort=True, err=True)
    pushed = planned if planned.unchanged else client.adapters.push(name, directory, model=base, metadata=notes)
    typer.echo(pushed.version.reference)


def pull(
    context: typer.Context,
    reference: Reference,
    directory: Annotated[Path | None, typer.Argument(help="Where to; by default a directory of its name.")] = None,
) -> None:
    """Write PEFT's two files, which `PeftModel.from_pretrained` loads."""
    target = directory or Path(reference.partition("@")[0].replace(":", "-"))
    typer.echo(client_of(context).adapters.pull(reference, target))


def diff(
    context: typer.Context,
    before: Annotated[str, typer.Argument(help="tone@1; or the later one alone, to compare it with the one before.")],
    after: Annotated[str | None, typer.Argument(help="tone@2, tone@prod.")] = None,
    shape: AsFormat = Format.TABLE,
) -> None:
    """What changed between two versions: the config, and how far what each module gets added is apart."""
    adapters = client_of(context).adapters
    found = adapters.diff(before) if after is None else adapters.diff(after, before=before)
    if shape is Format.JSON:
        typer.echo(json.dumps(found.raw, indent=2))
        return
    typer.echo(f"{found.before} -> {found.after}")
    for key, (old, new) in found.config.items():
        typer.echo(f"{key}: {json.dumps(old)} -> {json.dumps(new)}")
    head = ("MODULE", "BEFORE", "AFTER", "CHANGE", "COSINE")
    print_table(head, (tuple(map(_number, (t.target, t.before, t.after, t.change, t.cosine))) for t in found.targets))


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
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Remove an adapter, or one of its versions. Numbers are never used again."""
    name, _, number = reference.partition("@")
    if number and not number.isdecimal():
        raise ValueError(f"{reference!r} is an alias: delete a version (tone@3), or `adapters alias delete`.")
    if not yes:
        typer.confirm(f"Delete {reference}?", abort=True, err=True)
    client_of(context).adapters.delete(name, version=int(number) if number else None, drain=drain)


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


def _number(cell: str | float | None) -> str:
    return f"{cell:.4g}" if isinstance(cell, float | int) else cell or "-"


def _version_cells(version: Version, aliases: list[str]) -> tuple[object, ...]:
    made = (version.created_at, version.raw.get("created_by"), ", ".join(aliases), version.digest[:19])
    return (version.version, version.method, f"{version.parameters:,}", f"{version.bytes:,}", *made)


def _labels(labels: dict[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items()))


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
