"""Every code block of docs/, in the order of the site: what a reader pastes works, and answers what is shown.

Pages about keys, teams and what they are charged are read beside a service that has keys.
"""

import json
import re
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest
import yaml
from e2e.documents import Block, blocks_of, run_block, shown_keys
from e2e.process import ROOT, Service
from word_models import save, tiny_llama, word_tokenizer

DOCS = ROOT / "docs"
PIRATE = ROOT / "service" / "demo" / "pirate"
WITH_KEYS = {"operations/access.md", "operations/limits.md", "operations/usage.md"}
FOLLOWED = {
    "guides/from-training-to-production.md",
    "guides/from-your-application.md",
    "operations/first-day.md",
}
"""Each is one story, from an empty machine on: test_days.py follows it."""
LANGUAGES = {"sh", "python", "json", "yaml", "toml", "text"}
MOST_NOT_RUN = 14
"""Blocks that start services of their own, or need other machines."""
VARIABLE = re.compile(r"""(?:\$|environ\[")([A-Z]+)\b""")
ADMIN_KEY = "ask_of-the-docs-and-nobody-else"
TONE = {"peft_type": "LORA", "r": 2, "target_modules": ["query"]}


def pages_in(nav: object) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, Mapping):
        for part in nav.values():
            yield from pages_in(part)
    elif isinstance(nav, list):
        for part in nav:
            yield from pages_in(part)


NAV = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
PAGES = [page for page in pages_in(NAV) if (DOCS / page).is_file()]
BESIDE = {f"decisions/{page.name}" for page in (DOCS / "decisions").glob("0*.md")}
"""Without a line of the navigation: their index has one for each, and they have no code."""


@pytest.fixture(scope="module")
def open_service(service: Service, printed: list[str]) -> Service:
    """Without keys; it has what the pages take for granted, also what a reader of the README has pasted."""
    assert printed
    save(tiny_llama(), word_tokenizer(), service.own_root / "my-model")
    shutil.copytree(PIRATE, service.own_root / "mate")
    _like_a_checkout(service)
    return service


@pytest.fixture(scope="module")
def keyed_service(demo_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("keyed"), demo_models)
    service.environment["ADAPTER_SERVICE_ADMIN_KEY"] = ADMIN_KEY
    service.http.headers["X-API-Key"] = ADMIN_KEY
    _like_a_checkout(service)
    service.start_preloaded().register("minilm", {"kind": "huggingface", "path": "minilm"})
    yield service
    service.close()


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Mapping[str, list[tuple[Block, str | AssertionError]]]:
    """Of each page, what its blocks print, or why they fail."""
    variables = Variables(request.getfixturevalue("keyed_service"))
    found: dict[str, list[tuple[Block, str | AssertionError]]] = {}
    for page in PAGES:
        if page in FOLLOWED:
            continue
        service: Service = request.getfixturevalue("keyed_service" if page in WITH_KEYS else "open_service")
        for block in blocks_of(DOCS / page):
            if block.runs:
                outcome = _outcome(service, block, variables)
                found.setdefault(page, []).append((block, outcome))
    return found


class Variables:
    """What the pages about keys call the keys and ids of their reader: `$KEY` is an admin's, `$FRAUD` team fraud's."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._key_of = cache(self._new_key)

    def of(self, block: Block) -> Mapping[str, str]:
        return {name: self._value(name) for name in VARIABLE.findall(block.text)}

    def _value(self, name: str) -> str:
        match name:
            case "KEY":
                return ADMIN_KEY
            case "SERVICE":
                return self._service.address
            case "ID":
                return self._service.http.post("/keys", json={"name": "to revoke", "role": "reader"}).json()["id"]
            case _:
                return self._key_of(name.lower())

    def _new_key(self, team: str) -> str:
        """A publisher's, of a team that has the adapter `tone`, rolled out as `prod`."""
        http = self._service.http
        http.post("/teams", json={"name": team})
        key = http.post("/keys", json={"name": "docs", "team": team, "role": "publisher"}).json()["key"]
        own = {"X-API-Key": key}
        for made in (
            http.post("/models/minilm/adapters", json={"name": "tone", "config": TONE}, headers=own),
            http.put("/adapters/tone/aliases/prod", json={"version": 1}, headers=own),
        ):
            assert made.is_success, made.text
        return key


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_work_as_they_stand(
    page: str, outcomes: Mapping[str, list[tuple[Block, str | AssertionError]]]
) -> None:
    failed = [f"{block}\n{outcome}" for block, outcome in outcomes.get(page, []) if isinstance(outcome, AssertionError)]
    assert not failed, "\n\n".join(failed)


def test_json_that_a_page_shows_has_the_keys_of_what_is_answered(
    outcomes: Mapping[str, list[tuple[Block, str | AssertionError]]],
) -> None:
    for page, ran in outcomes.items():
        printed = {block.line: outcome for block, outcome in ran if isinstance(outcome, str)}
        for block in blocks_of(DOCS / page):
            before = [line for line in printed if line < block.line]
            if block.language == "json" and before:
                assert shown_keys(block.text) <= shown_keys(printed[max(before)]), block


@pytest.mark.parametrize("page", PAGES)
def test_what_is_shown_and_not_run_can_be_read(page: str) -> None:
    for block in blocks_of(DOCS / page):
        assert block.language in LANGUAGES, block
        if block.language == "toml":
            tomllib.loads(block.text)
        if block.language == "yaml":
            assert yaml.safe_load(block.text), block
        if block.language == "json" and "…" not in block.text:
            json.loads(block.text)
        if block.language == "sh" and block.not_run:
            assert block.not_run.strip(), block


def test_few_blocks_are_not_run() -> None:
    left = [f"{block}: {block.not_run}" for page in PAGES for block in blocks_of(DOCS / page) if block.not_run]
    assert len(left) <= MOST_NOT_RUN, "\n".join(left)


def test_the_site_has_every_page() -> None:
    assert {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} == {*PAGES, *BESIDE}
    assert not [page for page in BESIDE if list(blocks_of(DOCS / page))]


def _like_a_checkout(service: Service) -> None:
    for name in ("service", "examples", ".venv"):
        (service.directory / name).symlink_to(ROOT / name)
    models = service.directory / "var" / "models"
    models.parent.mkdir(exist_ok=True)
    models.symlink_to(ROOT / "var" / "models")


def _outcome(service: Service, block: Block, variables: Variables) -> str | AssertionError:
    try:
        return run_block(service, block, service.directory, variables.of(block))
    except AssertionError as failure:
        return failure
