from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from time import sleep

import pytest
from sqlalchemy import select, update

from models_registry.errors import Unavailable
from models_registry.storage.database import Database, migrate, open_database
from models_registry.storage.tables import GenerationRow
from models_registry.storage.writer_turns import PATIENT, WriterTurns

FOR_GOOD = 600.0


def test_who_comes_while_many_wait_behind_a_change_gives_up_soon() -> None:
    turns = WriterTurns(FOR_GOOD, crowded_s=0.0)
    with ThreadPoolExecutor(PATIENT) as pool:
        with turns.take():
            patient = [pool.submit(_take, turns) for _ in range(PATIENT)]
            while turns.waiting < PATIENT:
                sleep(0.01)

            with pytest.raises(Unavailable, match="takes very long"), turns.take():
                pass

        assert [done.result() for done in patient] == ["taken"] * PATIENT
    assert turns.waiting == 0


def test_a_change_that_fails_passes_its_turn_on() -> None:
    turns = WriterTurns(FOR_GOOD)
    with pytest.raises(KeyError), turns.take():
        raise KeyError

    assert _take(turns) == "taken"


def test_writers_that_wait_leave_readers_their_connections(empty_database_url: str) -> None:
    migrate(empty_database_url)
    with closing(open_database(empty_database_url)) as database, ThreadPoolExecutor(20) as pool:
        with database.write():
            writers = [pool.submit(_raise_generation, database) for _ in range(20)]  # more than it has connections
            while database.waiting_writers < len(writers):
                sleep(0.01)

            assert _generation_of(database) == 0

        for done in writers:
            done.result()
        assert _generation_of(database) == len(writers)


def _take(turns: WriterTurns) -> str:
    with turns.take():
        return "taken"


def _raise_generation(database: Database) -> None:
    with database.write() as session:
        session.execute(update(GenerationRow).values(value=GenerationRow.value + 1))


def _generation_of(database: Database) -> int:
    with database.read() as session:
        return session.scalars(select(GenerationRow.value)).one()
