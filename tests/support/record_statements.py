"""`make statements`: what this code says to its database, written beside what released code said."""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from databases import DIALECTS, postgres_server, sqlite_url
from registry_story import live_through
from statements import Transaction, file_of, recorded, say_again, without_repetitions, write

from models_registry.storage.database import migrate, newest_schema, open_database


@contextmanager
def databases(dialect: str, directory: Path) -> Generator[tuple[str, str]]:
    """The URLs of two at this code's schema."""
    if dialect == "sqlite":
        urls = sqlite_url(directory / "one.db"), sqlite_url(directory / "two.db")
        for url in urls:
            migrate(url)
        yield urls
        return
    with postgres_server() as server, server.migrated_database() as one, server.migrated_database() as two:
        yield one, two


def record(url: str, directory: Path) -> list[Transaction]:
    """The whole story, told to the database at `url`."""
    with recorded() as transactions:
        database = open_database(url)
        live_through(database, directory)
        database.close()
    return without_repetitions(transactions)


def answered(url: str, transactions: list[Transaction]) -> list[Transaction]:
    """With the answers of another database."""
    answers = iter([answer for _, answer in say_again(url, transactions)])
    return [[replace(statement, answer=next(answers)) for statement in transaction] for transaction in transactions]


def main() -> None:
    for dialect in DIALECTS:
        with tempfile.TemporaryDirectory() as directory, databases(dialect, Path(directory)) as (one, two):
            file = file_of(newest_schema(), dialect)
            write(file, answered(two, record(one, Path(directory) / "blobs")))
            print(file)


if __name__ == "__main__":
    main()
