"""`adapterctl keys` and `adapterctl teams`, on the database itself."""

from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from models_registry.access import Access
from models_registry.storage.database import open_database
from service import cli
from service.front.access.key_ring import digest_of

pytestmark = pytest.mark.usefixtures("quiet_cli")


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = f"sqlite:///{tmp_path}/registry.db"
    monkeypatch.setenv("ADAPTER_SERVICE_DATABASE_URL", url)
    return url


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, arguments)


def test_a_key_is_made_and_printed_once(url: str) -> None:
    made = run("keys", "create", "--role", "admin")
    assert made.exit_code == 0, made.output
    with closing(open_database(url)) as database:
        (key,) = Access(database).list_keys()
    assert key.role == "admin"
    assert key.digest == digest_of(made.output.strip())
    wrong = run("keys", "create", "--role", "boss")
    assert wrong.exit_code == 2
    assert "reader, caller, publisher, admin" in wrong.output


def test_a_key_is_listed_until_it_is_revoked_and_then_as_revoked(url: str) -> None:
    secret = run("keys", "create", "--role", "publisher", "--name", "ci").output.strip()
    listed = run("keys", "list").output
    assert "publisher  default  ci  valid, never used" in listed
    assert secret not in listed
    id = listed.split()[0]

    assert run("keys", "revoke", id).exit_code == 0
    assert "ci  revoked 20" in run("keys", "list").output
    absent = run("keys", "revoke", "nobody")
    assert absent.exit_code == 2
    assert "nobody" in absent.output


def test_a_team_is_made_once_and_listed_with_its_limits(url: str) -> None:
    assert run("teams", "create", "fraud").exit_code == 0
    assert run("teams", "list").output.splitlines() == ["default  no limits", "fraud  no limits"]
    again = run("teams", "create", "fraud")
    assert again.exit_code == 2
    assert "fraud" in again.output
    assert run("keys", "create", "--role", "caller", "--team", "fraud").exit_code == 0


def test_a_team_is_removed_once_nothing_is_its(url: str) -> None:
    run("teams", "create", "fraud")
    run("keys", "create", "--role", "caller", "--team", "fraud")
    refused = run("teams", "remove", "fraud")
    assert refused.exit_code == 2
    assert "valid keys" in refused.output
    run("keys", "revoke", run("keys", "list").output.split()[0])
    run("keys", "create", "--role", "caller")
    removed = run("teams", "remove", "fraud")
    assert (removed.exit_code, removed.output) == (0, "Removed fraud.\n")
    assert run("teams", "list").output.splitlines() == ["default  no limits"]
