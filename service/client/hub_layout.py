"""Hugging Face's layout of a repository on disk: `models--org--name/snapshots/<commit>`, with links to blobs.

Read without `huggingface_hub`, which the client doesn't need for anything else.
"""

import re
from collections.abc import Mapping
from pathlib import Path

_REPOSITORY = re.compile(r"models--(?P<owner>.+?)--(?P<name>.+)|models--(?P<alone>.+)")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
# One key of a card's YAML, as the hub writes it: a text, quoted or not, or the first item of a list.
_BASE_MODEL = re.compile(
    r"""^base_model:[ \t]*(?:\r?\n[ \t]*-[ \t]*|\[[ \t]*)?["']?(?P<base>[^"'\s,\]]+)""", re.MULTILINE
)
_HEADER = re.compile(r"\A---\r?\n(?P<yaml>.*?)^---[ \t]*$", re.MULTILINE | re.DOTALL)
CARD = "README.md"


def snapshot_of(directory: Path) -> Path:
    """The snapshot that `refs/main` names, or the only one, of a repository in a hub cache; any other directory is
    itself. Raises `FileNotFoundError` where that leaves none, or several."""
    snapshots = directory / "snapshots"
    if not _REPOSITORY.fullmatch(directory.name) or not snapshots.is_dir():
        return directory
    main = directory / "refs" / "main"
    if main.is_file():
        commit = main.read_text(encoding="utf-8").strip()
        if _COMMIT.fullmatch(commit) and (snapshots / commit).is_dir():
            return snapshots / commit
    there = sorted(one for one in snapshots.iterdir() if one.is_dir())
    if len(there) == 1:
        return there[0]
    found = f"has the snapshots {', '.join(one.name for one in there)}" if there else "has no snapshot"
    raise FileNotFoundError(f"{directory} {found}, and refs/main names none of them: give the directory of one.")


def repository_of(directory: Path) -> Path | None:
    """The repository of a hub cache whose snapshot, or a directory in that, this is."""
    for place in directory.absolute().parents:
        if place.name == "snapshots" and _REPOSITORY.fullmatch(place.parent.name):
            return place.parent
    return None


def require_inside(repository: Path, file: Path) -> None:
    """Raises `FileNotFoundError` where a link leads out of the repository, to a file that nobody meant to share."""
    if not file.resolve(strict=True).is_relative_to(repository.resolve(strict=True)):
        raise FileNotFoundError(f"{file} is a link that leads out of {repository}: it is not read.")


def origin_of(repository: Path, directory: Path) -> Mapping[str, str]:
    """What a version's metadata says of where it comes from: `hub_repository`, `hub_revision`, and the model card's
    `base_model`."""
    found = _REPOSITORY.fullmatch(repository.name)
    assert found is not None
    name = found["alone"] or f"{found['owner']}/{found['name']}"
    revision = directory.absolute().relative_to(repository.absolute() / "snapshots").parts[0]
    base = _base_model(repository, directory / CARD)
    return {"hub_repository": name, "hub_revision": revision, **({"base_model": base} if base else {})}


def _base_model(repository: Path, card: Path) -> str | None:
    if not card.is_file():
        return None
    require_inside(repository, card)
    header = _HEADER.match(card.read_text(encoding="utf-8", errors="replace"))
    found = header and _BASE_MODEL.search(header["yaml"])
    return found["base"] if found else None
