"""The code blocks of README and docs/, as a reader would paste them.

A comment above a block says what its reader should know: `<!-- not run: why -->`, `<!-- refused -->` where it shows an
error. What a reader sees is what runs, but for the address, which is the tests' own.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from e2e.process import ROOT, Service

README = ROOT / "README.md"
BLOCK = re.compile(r"^(?:<!-- (.*) -->\n)?```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
IMPORT = re.compile(r"^(?:from|import) .*\n", re.MULTILINE)
ADDRESS = re.compile(r"(?:127\.0\.0\.1|localhost):8000")
# A refusal is the end of a block, as it is for its reader.
CURL = 'curl() { command curl --fail-with-body "$@"; }\n'


@dataclass(frozen=True, slots=True)
class Block:
    page: Path
    line: int
    language: str
    text: str
    not_run: str
    """Why; empty if it runs."""
    refused: bool
    imported: str
    """What the page's Python before it has imported."""

    @property
    def runs(self) -> bool:
        return self.language in ("sh", "python") and not self.not_run

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    text, imported = page.read_text(encoding="utf-8"), ""
    for found in BLOCK.finditer(text):
        note, language, code = found.group(1) or "", found.group(2), found.group(3)
        why = note.removeprefix("not run: ") if note.startswith("not run: ") else ""
        yield Block(page, text.count("\n", 0, found.start(3)), language, code, why, note == "refused", imported)
        if language == "python":
            imported += "".join(IMPORT.findall(code))


def run_block(service: Service, block: Block, directory: Path, variables: Mapping[str, str] | None = None) -> str:
    """What it prints. Fails where one of its commands does, or, for a refusal, where none does."""
    code = ADDRESS.sub(service.address.removeprefix("http://"), block.text)
    if block.language == "python":
        file = directory / "block.py"
        file.write_text(block.imported + code, encoding="utf-8")
        return service.run(f"python {file}", directory, variables)
    if block.refused:
        code = f"if (\n{code}\n); then echo it was not refused >&2; exit 1; fi"
    return service.run(f"{CURL}{code}", directory, variables)


def shown_keys(text: str) -> set[str]:
    """The keys of JSON that may be cut short."""
    return set(re.findall(r'"(\w+)":', text))
