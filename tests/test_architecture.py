"""The house stays as it was drawn: who may import whom, and what may stand where."""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("models_registry", "service")
# What every room may import: values, errors, how references are written, dtypes by name, tensors by digest,
# named tensors as bytes, text without its secrets, tasks by name, who changes something, who answers for an alias,
# what a team may have, how a model computes and writes calls, what was used.
COMMON = {
    "models_registry.records",
    "models_registry.errors",
    "models_registry.references",
    "models_registry.dtypes",
    "models_registry.arithmetic",
    "models_registry.call_forms",
    "models_registry.tensor_digest",
    "models_registry.safetensors_files",
    "models_registry.redaction",
    "models_registry.task_names",
    "models_registry.authors",
    "models_registry.rollouts",
    "models_registry.adapter_searches",
    "models_registry.alias_counters",
    "models_registry.label_selectors",
    "models_registry.teams",
    "models_registry.event_records",
    "models_registry.usage_records",
}
ROOMS = (
    "access",
    "team_spending",
    "adapters",
    "architecture",
    "base_models",
    "injection",
    "inputs",
    "storage",
    "registry",
    "usage",
)
MAY_IMPORT = {
    "adapters": {"adapters"},
    "architecture": {"architecture"},
    "base_models": {"base_models", "inputs"},
    "inputs": {"inputs"},
    "storage": {"storage"},
    "injection": {"injection", "adapters", "architecture"},
    "registry": {"registry", "adapters", "base_models", "storage"},
    "access": {"access", "storage"},
    "usage": {"usage", "storage"},
    "team_spending": {"team_spending", "storage"},
}
# Who may import whom in the service; whoever is not named here may import everything but hosts and transports.
SERVICE_MAY_IMPORT = {
    "service.protocol": {"service.protocol", "models_registry.inputs"},
    "service.front": {
        "service.front",
        "service.protocol",
        "service.settings",
        "service.suggestions",
        "models_registry.access",
        "models_registry.usage",
        "models_registry.team_spending",
        "models_registry.registry",
        "models_registry.storage",
        "models_registry.adapters",
        "models_registry.inputs",
        "models_registry.base_models.sources",
    },
    "service.console": {
        "service.console",
        "service.front",
        "models_registry.adapters",
        "models_registry.inputs",
    },
    "service.host": {
        "service.host",
        "service.protocol",
        "models_registry.adapters",
        "models_registry.architecture",
        "models_registry.base_models",
        "models_registry.injection",
        "models_registry.inputs",
        "models_registry.storage.blobs",
    },
    "service.transports": {"service.transports", "service.protocol"},
    # Its hosts live where it does; other transports start theirs in a child.
    "service.transports.in_process": {"service.transports", "service.protocol", "service.host"},
}
ASSEMBLY = ("service.bootstrap", "service.cli", "service.hosting", "service.identity", "service.cluster")
LONGEST_FILE = 330
MACHINE_PATH = re.compile(r"[\"'](/(home|root|work|Users)/|[A-Z]:\\)")
# What only a host needs, of which the front may import `base_models.sources`, and the files that still do.
RUNS_MODELS = (
    "models_registry.architecture",
    "models_registry.base_models",
    "models_registry.injection",
    "service.host",
    "service.transports",
    "transformers",
)
STATUS_NAMES = {"status_code", "HTTPStatus", "HTTPException"}


def lies_in(name: str, packages: Iterable[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


@dataclass(frozen=True)
class Source:
    """One of our files: where it is, its dotted name, its text and its tree."""

    path: Path
    name: str
    text: str
    tree: ast.Module

    @property
    def room(self) -> str | None:
        """Of the library; `registry` is the door and whatever is split off it."""
        package, *rest = self.name.split(".")
        if package != "models_registry" or not rest or self.name in COMMON:
            return None
        return "registry" if rest[0].startswith("registry") else rest[0]

    @property
    def imports(self) -> set[str]:
        """Dotted names of the modules it imports, anywhere in the file."""
        found: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.name} imports relatively"
                found |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
        return found

    def is_in(self, *packages: str) -> bool:
        return lies_in(self.name, packages)

    def imports_of(self, *packages: str) -> set[str]:
        return {name for name in self.imports if lies_in(name, packages)}


def read(path: Path) -> Source:
    text = path.read_text()
    parts = path.relative_to(ROOT).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return Source(path, name, text, ast.parse(text))


@cache
def sources() -> list[Source]:
    return [read(path) for package in OURS for path in sorted((ROOT / package).rglob("*.py"))]


def room_of(name: str) -> str | None:
    """The room of the library that an imported name lies in."""
    parts = name.split(".")
    if len(parts) < 2 or any(name == common or name.startswith(f"{common}.") for common in COMMON):
        return None
    return "registry" if parts[1].startswith("registry") else parts[1]


def top_level_values(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in tree.body:
        if isinstance(node, ast.Assign):
            yield ast.unparse(node.targets[0]), node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            yield ast.unparse(node.target), node.value


def test_there_is_something_to_check() -> None:
    assert {source.room for source in sources()} >= set(ROOMS)
    assert any(source.name.startswith("service.front.api") for source in sources())


def offenders(*rooms: str, to: tuple[str, ...], where: tuple[str, ...] = OURS) -> dict[str, set[str]]:
    """What the files below `where`, but not below `rooms`, import of `to`."""
    return {
        source.name: found
        for source in sources()
        if source.is_in(*where) and not source.is_in(*rooms) and (found := source.imports_of(*to))
    }


def test_the_library_never_imports_the_service() -> None:
    assert not offenders(where=("models_registry",), to=("service",))


@pytest.mark.parametrize("room", SERVICE_MAY_IMPORT)
def test_a_room_of_the_service_imports_of_ours_only_what_it_may(room: str) -> None:
    may = SERVICE_MAY_IMPORT[room] | COMMON | {"service.log"}  # one form of line, whichever process writes it
    rooms_inside = [other for other in SERVICE_MAY_IMPORT if other.startswith(f"{room}.")]
    inside = [source for source in sources() if source.is_in(room) and not source.is_in(*rooms_inside)]
    assert inside
    found = {source.name: {name for name in source.imports_of(*OURS) if not may_import(name, may)} for source in inside}
    assert not {name: imports for name, imports in found.items() if imports}


def may_import(name: str, allowed: set[str]) -> bool:
    """What lies above something allowed is named by `from models_registry import records`, too."""
    return lies_in(name, allowed) or any(lies_in(one, [name]) for one in allowed)


def test_only_what_assembles_joins_front_and_hosts() -> None:
    assert not offenders(
        *ASSEMBLY, "service.host", "service.transports", where=("service",), to=("service.host", "service.transports")
    )


def test_the_front_runs_no_forward() -> None:
    assert not offenders(where=("service.front",), to=("transformers", "torch.nn", "models_registry.injection"))


def test_hosts_and_what_carries_their_words_have_no_http_and_no_sql() -> None:
    rooms = ("service.protocol", "service.host", "service.transports")
    assert not offenders(where=rooms, to=("fastapi", "starlette", "uvicorn", "sqlalchemy", "alembic"))


def test_rooms_of_the_library_import_only_those_that_they_may() -> None:
    for source in sources():
        if source.room is not None:
            rooms = {room_of(name) for name in source.imports_of("models_registry")} - {None}
            assert rooms <= MAY_IMPORT[source.room], source.name


def test_what_every_room_shares_imports_no_room() -> None:
    for source in sources():
        if source.name in COMMON:
            assert not {room_of(name) for name in source.imports_of(*OURS)} - {None}, source.name


def test_records_import_nothing_of_ours() -> None:
    assert not offenders(where=("models_registry.records",), to=OURS)


def test_the_api_leaves_live_modules_and_rows_to_the_engine() -> None:
    assert not offenders(where=("service.front.api",), to=("models_registry.injection", "models_registry.storage"))


def test_the_front_imports_nothing_that_runs_a_model() -> None:
    sources = "models_registry.base_models.sources."
    found = offenders(where=("service.front",), to=RUNS_MODELS)
    assert not {name for names in found.values() for name in names if not f"{name}.".startswith(sources)}


def test_fastapi_stays_in_the_app_and_the_api() -> None:
    rooms = (
        "service.bootstrap",
        "service.front.api",
        "service.console",
        "service.cluster.front",
        "service.cluster.proxy",
    )
    assert not offenders(*rooms, to=("fastapi", "starlette"))


def test_the_client_imports_nothing_of_ours_but_its_own() -> None:
    found = offenders(where=("service.client",), to=OURS)
    assert not {name for names in found.values() for name in names if not name.startswith("service.client")}


def test_sqlalchemy_stays_in_storage_and_behind_the_registrys_door() -> None:
    found = offenders(to=("sqlalchemy", "alembic"))
    assert {source.room for source in sources() if source.name in found} == {"storage", "registry", "access"}


def test_status_codes_stay_in_the_api() -> None:
    for source in sources():
        if not source.is_in("service.front.api", "service.client"):
            names = {node.id for node in ast.walk(source.tree) if isinstance(node, ast.Name)}
            names |= {node.attr for node in ast.walk(source.tree) if isinstance(node, ast.Attribute)}
            names |= {str(node.arg) for node in ast.walk(source.tree) if isinstance(node, ast.keyword)}
            assert not names & STATUS_NAMES, source.name


def test_peft_and_test_tools_are_for_tests() -> None:
    assert not offenders(to=("peft", "pytest", "hypothesis", "schemathesis", "tests"))


def test_no_file_grows_beyond_one_noun() -> None:
    assert not {source.name for source in sources() if len(source.text.splitlines()) > LONGEST_FILE}


def test_nothing_names_a_path_of_somebodys_machine() -> None:
    assert not {source.name for source in sources() if MACHINE_PATH.search(source.text)}


def test_no_module_keeps_what_a_request_could_change() -> None:
    """At the top of a module stand constants. A container that is empty there would be filled later."""
    for source in sources():
        for name, value in top_level_values(source.tree):
            is_container = isinstance(value, ast.List | ast.Dict) and ast.unparse(value) in ("[]", "{}")
            assert not is_container, f"{name} in {source.name}"
        assert not any(isinstance(node, ast.Global) for node in ast.walk(source.tree)), source.name


def test_every_file_says_what_it_knows() -> None:
    silent = {source.name for source in sources() if source.tree.body and not ast.get_docstring(source.tree)}
    assert silent <= {"service.__main__"}


@pytest.mark.parametrize("word", ["utils", "helpers", "common", "misc", "base"])
def test_no_file_is_called_after_nothing(word: str) -> None:
    assert not [source.name for source in sources() if source.name.rpartition(".")[2] == word]


def test_the_migrations_folder_does_not_shadow_the_library() -> None:
    assert not (ROOT / "alembic" / "__init__.py").exists()
