"""Databases and blob stores for every test that names one of these fixtures, and the layer of each test.

Each test with a database runs on SQLite and on Postgres, each with a `blob_url` on a directory and on S3.
Where several workers run the tests, each has servers of its own.
"""

import gc
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from databases import DIALECTS, Postgres, postgres_server, sqlite_url, write_migrated
from obstore.store import LocalStore, ObjectStore
from stores import STORES, S3Server, directory_url, running_s3

from models_registry.storage.database import Database, open_database

TESTS = Path(__file__).parent
SHARED = ("demo_models", "pair", "shared_house", "host_launcher", "cluster", "real_ray", "joining")
"""Fixtures that take long: all tests that use one run in one worker."""
RAYS, RAYS_IF_ASKED = ("cluster", "real_ray", "joining"), ("service", "shared_house")
"""Fixtures that start a Ray; some only with `--cluster`."""

MEMORY_DISK, ROOM_BYTES = Path("/dev/shm"), 8 << 30
"""Half of a machine's memory by default; in a container often 64 MB, from which no program may run."""

LAYER_OF_FOLDER = {"e2e": "e2e", "parity": "integration", "transports": "integration"}
"""All other folders of tests/ are `unit`, but for tests that need the whole app, a server or a process."""
WHOLE = {"client", "start", "running", "postgres", "s3_server", "s3_url", *DIALECTS[1:], *STORES[1:]}
"""Fixtures, and parameters of fixtures, that start the app, an engine or a server."""
STARTING = {
    "subprocess",
    "multiprocessing",
    "modules_after_importing",
    "create_app",
    "settings_in",
    "Running",
    "WritingHost",
}
"""A module that has one of these names starts processes, the app or an engine."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--cluster",
        action="store_true",
        help="Run the services of tests/e2e as clusters on Ray Serve (make test-cluster).",
    )


def pytest_configure() -> None:
    """Files of tests lie in memory where it has room: a write that waits for a disk takes longer than most tests."""
    if MEMORY_DISK.is_dir():
        found = os.statvfs(MEMORY_DISK)
        if found.f_bavail * found.f_frsize >= ROOM_BYTES and not found.f_flag & os.ST_NOEXEC:
            os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY_DISK))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Names in `ray_turn` the fixture that starts a Ray for this test."""
    rays = (*RAYS, *RAYS_IF_ASKED) if metafunc.config.getoption("--cluster") else RAYS
    if used := [name for name in rays if name in metafunc.fixturenames]:
        metafunc.parametrize("ray_turn", used, indirect=True, ids=[pytest.HIDDEN_PARAM], scope="session")


def layer_of(item: pytest.Item) -> str:
    """`unit`, `integration` or `e2e`."""
    folder = item.path.relative_to(TESTS).parts[0]
    if layer := LAYER_OF_FOLDER.get(folder):
        return layer
    if not isinstance(item, pytest.Function):
        return "unit"
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    needed = {*item.fixturenames, *(value for value in parameters if isinstance(value, str))}
    starts = STARTING & vars(item.module).keys()
    return "integration" if needed & WHOLE or starts else "unit"


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: tests wait for disks, for processes and for each other's ends."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What the tests' files import stays until the end: to look for garbage in it takes a sixth of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse to run where groups have no effect: each worker would start the services, and the Rays, of all files."""
    grouped = session.config.getoption("loadgroup", default=False)
    if grouped and not all("@" in item.nodeid for item in session.items):
        raise pytest.UsageError("xdist keeps no groups together: its version does not fit pytest's")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A worker takes all tests of a file, because they share what its module set up. The largest groups come first, so
    that no worker is alone with one in the end."""
    for item in items:
        item.add_marker(layer_of(item))
        item.add_marker(pytest.mark.xdist_group(group_of(item)))
    items.sort(key=lambda item: group_of(item) not in SHARED)


def group_of(item: pytest.Item) -> str:
    """One of `SHARED`, or else the test's file."""
    used = item.fixturenames if isinstance(item, pytest.Function) else ()
    return next((name for name in SHARED if name in used), str(item.path))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Half a character in what a test logged can't be told to the process that collects the workers' reports."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(scope="module", autouse=True)
def spare_the_collector() -> None:
    """What is there before a file's tests stays until the end, mostly imported modules. Each host that closes begins a
    collection, and to look through half a million objects takes longer than most tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def ray_turn() -> None:
    """What starts a Ray needs it, and is ended when it is another one's turn: one at a time is enough for a machine."""


@pytest.fixture(scope="session")
def real_ray(ray_turn: None) -> Iterator[None]:
    """A small Ray with Serve, and nothing of ours on it."""
    from rays import running_ray

    with running_ray():
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for the whole run, begun by the first test that needs it."""
    with postgres_server() as server:
        yield server


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def empty_database_url(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where an empty database is, or will be once something is written to it."""
    if dialect == "sqlite":
        yield sqlite_url(tmp_path / "empty" / "registry.db")
        return
    server: Postgres = request.getfixturevalue("postgres")
    with server.database() as url:
        yield url


@pytest.fixture
def database_url(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where a database of this test's own is, at this code's schema."""
    if dialect == "sqlite":
        file = tmp_path / "var" / "registry.db"
        file.parent.mkdir()
        write_migrated(file)
        yield sqlite_url(file)
        return
    server: Postgres = request.getfixturevalue("postgres")
    with server.migrated_database() as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = open_database(database_url)
    yield database
    database.close()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """One server for the whole run, begun by the first test that needs it. Whoever harms it mends it again."""
    with running_s3() as server:
        yield server


@pytest.fixture
def s3_url(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty store of this test's own in a bucket; the AWS variables say where that is and who we are."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server.new_url()


@pytest.fixture(params=STORES)
def blob_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty blob store of this test's own is."""
    return request.getfixturevalue("s3_url") if request.param == "s3" else directory_url(tmp_path / "blobs")


@pytest.fixture
def raw(blob_url: str, request: pytest.FixtureRequest) -> ObjectStore:
    """What the store at `blob_url` lies on, to look at it and to damage it."""
    if blob_url.startswith("s3:"):
        server: S3Server = request.getfixturevalue("s3_server")
        return server.client(blob_url)
    return LocalStore(blob_url.removeprefix("file:"), mkdir=True)
