"""What README and docs/ say is so: code runs as it stands, links lead somewhere, every page is found."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "examples/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)")
LONGEST = 150
"""Lines of what a newcomer reads first."""


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub names them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_librarys_guide_runs_and_prints_what_its_comments_say(capsys: pytest.CaptureFixture[str]) -> None:
    guide = (ROOT / "docs" / "guides" / "library.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, "library.md", "exec"), names)
    model, rows = names["model"], names["rows"]
    assert isinstance(model, torch.nn.Module)
    printed = capsys.readouterr().out
    assert str(model(rows)) in printed
    assert "'0.lora_A.weight', '0.lora_B.weight'" in printed
    assert [name for name, _ in model.named_modules()] == ["", "0", "1", "2"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_is_there(page: Path) -> None:
    for path, anchor in LINK.findall(page.read_text()):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, left = set[Path](), [ROOT / "README.md"]
    while left:
        page = left.pop().resolve()
        if page in reached:
            continue
        reached.add(page)
        linked = [page.parent / path for path, _ in LINK.findall(page.read_text()) if path.endswith(".md")]
        left += linked
    assert {page.resolve() for page in PAGES} <= reached


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_sends_as_json_is_called_so(page: Path) -> None:
    sent = [line for line in page.read_text().splitlines() if "curl " in line and " -d '{" in line]
    assert [line for line in sent if "Content-Type: application/json" not in line] == []


def test_every_file_that_the_architecture_names_is_there() -> None:
    named = re.findall(r"`([\w/]+\.py)`", (ROOT / "docs" / "architecture.md").read_text())
    files = [
        f"/{path.relative_to(ROOT)}"
        for top in ("models_registry", "service", "tests")
        for path in (ROOT / top).rglob("*.py")
    ]
    assert named
    assert [name for name in named if not any(file.endswith(f"/{name}") for file in files)] == []


def test_the_architecture_names_every_room() -> None:
    """A room is a folder with Python files; a name may stand beside its neighbours' in the same cell."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    files = [*(ROOT / "models_registry").rglob("*.py"), *(ROOT / "service").rglob("*.py")]
    rooms = {file.parent for file in files if file.name != "__init__.py"} - {ROOT / "models_registry", ROOT / "service"}
    names = {part for cell in re.findall(r"`([\w/{},….]+)`", text) for part in cell.split("/")}
    assert sorted(str(room.relative_to(ROOT)) for room in rooms if room.name not in names) == []


@pytest.mark.parametrize("name", ["README.md", "docs/architecture.md"])
def test_what_a_newcomer_reads_first_is_short(name: str) -> None:
    assert len((ROOT / name).read_text().splitlines()) < LONGEST
