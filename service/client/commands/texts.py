"""The commands that ask: one input, many adapters beside each other, a chat."""

from collections.abc import Iterator
from typing import Annotated, TypeAlias

import typer

from service.client.blocking import Client
from service.client.commands.output import print_table
from service.client.commands.session import client_of
from service.client.errors import ProblemError
from service.client.records import Answer
from service.client.streams import TextPiece

Model: TypeAlias = Annotated[str, typer.Argument(help="The base model.")]
Adapter: TypeAlias = Annotated[str | None, typer.Option(help="Which adapter: tone, tone@3, tone@prod; none: the base.")]
MaxTokens: TypeAlias = Annotated[int, typer.Option(help="The most tokens of an answer.")]


def add_to(app: typer.Typer) -> None:
    app.command()(infer)
    app.command()(compare)
    app.command()(chat)


def infer(
    context: typer.Context,
    model: Model,
    texts: Annotated[list[str], typer.Argument(help="One row each.")],
    adapter: Adapter = None,
    max_tokens: MaxTokens = 64,
) -> None:
    """Answer texts: a language model writes, other models give their outputs."""
    client = client_of(context)
    answer = _ask(client, model, texts, [adapter] * len(texts), max_tokens)
    for row, (text, version) in enumerate(zip(texts, answer.adapter, strict=True)):
        typer.echo(f"{version or model}: {text!r}", err=True)
        for line in _lines(answer, row):
            typer.echo(line)


def compare(
    context: typer.Context,
    model: Model,
    text: Annotated[str, typer.Argument(help="What each of them is asked.")],
    adapters: Annotated[list[str], typer.Argument(help="References; the base is always there.")],
    max_tokens: MaxTokens = 64,
) -> None:
    """One input to the base and to several adapters, in one batch."""
    choices = [None, *adapters]
    answer = _ask(client_of(context), model, [text] * len(choices), choices, max_tokens)
    rows = [(version or model, "\n".join(_lines(answer, row))) for row, version in enumerate(answer.adapter)]
    print_table(("ADAPTER", "ANSWER"), rows)


def chat(context: typer.Context, model: Model, adapter: Adapter = None, max_tokens: MaxTokens = 256) -> None:
    """Talk to a language model. /adapter NAME switches, /base switches to the base model, /new forgets, /quit ends."""
    client, said = client_of(context), list[dict[str, str]]()
    while (line := _next_line(adapter or model)) is not None and line != "/quit":
        if line.startswith("/adapter "):
            adapter = line.removeprefix("/adapter ").strip()
        elif line == "/base":
            adapter = None
        elif line == "/new":
            said = []
        elif line:
            said.append({"role": "user", "content": line})
            said = _answer(client, model, adapter, said, max_tokens)


def _answer(
    client: Client, model: str, adapter: str | None, said: list[dict[str, str]], max_tokens: int
) -> list[dict[str, str]]:
    """The chat with its answer; without its last line where that couldn't be answered, so that it may be said again."""
    pieces: list[str] = []
    try:
        for written in client.stream(model, [said], adapter=adapter, max_new_tokens=max_tokens):
            if isinstance(written, TextPiece):
                pieces.append(written.text)
                typer.echo(written.text, nl=False)
    except ProblemError as problem:
        typer.echo(f"\n{problem}", err=True)
        return said[:-1]
    typer.echo()
    return [*said, {"role": "assistant", "content": "".join(pieces)}]


def _next_line(who: str) -> str | None:
    try:
        return typer.prompt(who, prompt_suffix="> ", default="", show_default=False).strip()
    except typer.Abort:  # the input's end, or Ctrl-C
        typer.echo()
        return None


def _ask(client: Client, model: str, texts: list[str], choices: list[str | None], max_tokens: int) -> Answer:
    writes = client.models.get(model).task == "text-generation"
    parameters = {"max_new_tokens": max_tokens} if writes else None
    return client.infer(model, texts, adapter=choices, parameters=parameters)


def _lines(answer: Answer, row: int) -> Iterator[str]:
    """What a row's answer is: its texts, then its numbers, the first few of each."""
    for name, values in answer.texts.items():
        yield values[row] if name == "text" else f"{name}: {values[row]}"
    for name, array in answer.outputs.items():
        values = array[row].reshape(-1)
        shown = ", ".join(f"{value:.6g}" for value in values[:8].tolist())
        yield f"{name}: {shown}{f', … ({values.size} in all)' if values.size > 8 else ''}"
