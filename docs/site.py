"""What mkdocs does to the pages when it builds the site: the calls of the OpenAPI document and the commands' own help
come in, links to files that aren't part of the site go, and no page asks another server for anything."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from mkdocs.exceptions import PluginError
from typer.cli import get_docs_for_click

from service.cli import app as adapterctl
from service.client.commands.main import app as adapters

DOCS = Path(__file__).parent
LINK = re.compile(r"\[([^\]]*)\]\((?!https?:|#)([^)#\s]+)(#[^)]*)?\)")
FETCHED = re.compile(r"""<(?:script|img|iframe|link)\b[^>]*?(?:src|href)=["']?https?://[^>]*>""")
DOCUMENT = DOCS.parent / "openapi" / "openapi.json"


def on_page_markdown(markdown: str, page: Any, **_: object) -> str:
    """Called by mkdocs for each page."""
    source = DOCS / page.file.src_uri
    markdown = markdown.replace("<!-- calls -->", "\n".join(_calls()))
    markdown = markdown.replace("<!-- commands -->", "\n\n".join(_commands()))
    return LINK.sub(lambda link: _within_site(link, source), markdown)


def on_post_page(output: str, page: Any, **_: object) -> str:
    """Called by mkdocs for each page that it has made."""
    if fetched := [tag for tag in FETCHED.findall(output) if 'rel="canonical"' not in tag]:
        raise PluginError(f"{page.file.src_uri} would be fetched from elsewhere in part: {fetched}")
    return output


def _within_site(link: re.Match[str], source: Path) -> str:
    label, path, _ = link.groups()
    target = (source.parent / path).resolve()
    if target == DOCS.parent / "README.md":
        return f"[{label}]({'../' * (len(source.relative_to(DOCS).parts) - 1)}index.md)"
    return link[0] if target.is_relative_to(DOCS) else f"`{label.strip('`')}`"


def _calls() -> Iterator[str]:
    document = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    yield "| call | | role |\n| --- | --- | --- |"
    for path, calls in document["paths"].items():
        for method, call in calls.items():
            summary = call.get("summary", "").replace("|", r"\|")
            yield f"| `{method.upper()} {path}` | {summary} | {call.get('x-required-role') or ''} |"


def _commands() -> Iterator[str]:
    for name, app in (("adapters", adapters), ("adapterctl", adapterctl)):
        command = typer.main.get_command(app)
        text = get_docs_for_click(obj=command, ctx=typer.Context(command), name=name)
        # One heading deeper, because the page has its own.
        yield re.sub(r"^#", "##", text, flags=re.MULTILINE)
