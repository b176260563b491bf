"""`adapters diff`: what changed between two versions, in their weights and, asked with prompts, in their answers."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer

from service.client.blocking import Client
from service.client.commands.output import Format, print_table
from service.client.commands.session import client_of
from service.client.records import Answer

AT_ONCE: Final = 16
"""Prompts in one request; each is two rows."""
CLOSE: Final = 1e-3
"""Numbers that differ by less, relative to the larger ones of their row, are the same answer."""
SHOWN: Final = 200
"""Characters of an answer in a table."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A prompt whose answer changed; texts are empty where the model gives numbers."""

    prompt: str
    before: str
    after: str


def add_to(app: typer.Typer) -> None:
    app.command()(diff)


def diff(
    context: typer.Context,
    before: Annotated[str, typer.Argument(help="tone@1; or the later one alone, to compare it with the one before.")],
    after: Annotated[str | None, typer.Argument(help="tone@2, tone@prod.")] = None,
    prompts: Annotated[
        Path | None, typer.Option(help='JSON lines to ask both: "a text", {"text": …} or {"messages": […]}.')
    ] = None,
    max_tokens: Annotated[int, typer.Option(help="The most tokens of an answer to a prompt.")] = 64,
    shape: Annotated[
        Format, typer.Option("--format", help="A table, or JSON as the service answers it.")
    ] = Format.TABLE,
) -> None:
    """What changed between two versions: the config, how far what each module gets added is apart, and with --prompts
    the share of answers that change."""
    client = client_of(context)
    asked = None if prompts is None else _read(prompts)
    found = client.adapters.diff(before) if after is None else client.adapters.diff(after, before=before)
    changed = None if asked is None else list(_changes(client, found.before, found.after, asked, max_tokens))
    if shape is Format.JSON:
        told = {} if asked is None or changed is None else {"prompts": len(asked), "changed": len(changed)}
        typer.echo(json.dumps({**found.raw, **told}, indent=2))
        return
    typer.echo(f"{found.before} -> {found.after}")
    for key, (old, new) in found.config.items():
        typer.echo(f"{key}: {json.dumps(old)} -> {json.dumps(new)}")
    head = ("MODULE", "BEFORE", "AFTER", "CHANGE", "COSINE")
    print_table(head, (tuple(map(_number, (t.target, t.before, t.after, t.change, t.cosine))) for t in found.targets))
    if asked is not None and changed is not None:
        typer.echo(f"{len(changed)} of {len(asked)} answers change ({len(changed) / len(asked):.0%}).")
        if changed:
            print_table(("PROMPT", "BEFORE", "AFTER"), ((one.prompt, one.before, one.after) for one in changed))


def _read(file: Path) -> list[Any]:
    """Texts, or chats. Raises `ValueError` for a line that is neither, or where both are mixed."""
    rows: list[Any] = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        value = json.loads(line) if line.lstrip()[0] in '"{' else line
        row = value.get("text", value.get("prompt", value.get("messages"))) if isinstance(value, dict) else value
        if not isinstance(row, str | list):
            raise TypeError(f'{file}, line {number}: write "a text", {{"text": …}} or {{"messages": […]}}.')
        rows.append(row)
    if not rows:
        raise ValueError(f"{file} has no prompts.")
    if len({type(row) for row in rows}) > 1:
        raise ValueError(f"{file} has texts and chats: give them in two files.")
    return rows


def _changes(client: Client, before: str, after: str, asked: Sequence[Any], max_tokens: int) -> Iterator[Changed]:
    model = client.models.get(client.adapters.get(before.partition("@")[0]).model)
    parameters = {"max_new_tokens": max_tokens} if model.task == "text-generation" else None
    for start in range(0, len(asked), AT_ONCE):
        some = list(asked[start : start + AT_ONCE])
        choices = [before] * len(some) + [after] * len(some)
        answer = client.infer(model.id, [*some, *some], adapter=choices, parameters=parameters)
        for row, prompt in enumerate(some):
            if _differs(answer, row, row + len(some)):
                shown = prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False)
                yield Changed(shown, _text(answer, row), _text(answer, row + len(some)))


def _differs(answer: Answer, one: int, other: int) -> bool:
    if answer.texts:
        return any(texts[one] != texts[other] for texts in answer.texts.values())
    return any(not _close(array[one], array[other]) for array in answer.outputs.values())


def _close(one: Any, other: Any) -> bool:
    size = max(float(np.abs(one).max(initial=0)), float(np.abs(other).max(initial=0)))
    return bool(np.allclose(one, other, rtol=0, atol=CLOSE * size))


def _text(answer: Answer, row: int) -> str:
    return " | ".join(texts[row][:SHOWN] for texts in answer.texts.values())


def _number(cell: str | float | None) -> str:
    return f"{cell:.4g}" if isinstance(cell, float | int) else cell or "-"
