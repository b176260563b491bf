"""Kill a process at every step at which it writes: what was acknowledged is there bit by bit, the rest wholly or not at
all, and whoever tries again gets on."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from datetime import timedelta
from itertools import count

import pytest
from e2e.crashes.mortal import Life, Mortals
from e2e.crashes.story import STORY, Seen, look

from models_registry.errors import Conflict, NotFound
from models_registry.registry import Registry
from models_registry.registry_garbage import collect_garbage
from models_registry.storage.blobs import BlobStore, open_blob_store
from models_registry.storage.database import Database


@pytest.fixture
def blobs(blob_url: str) -> BlobStore:
    return open_blob_store(blob_url)


@pytest.fixture
def registry(database: Database, blobs: BlobStore) -> Registry:
    return Registry(database, blobs)


@pytest.fixture
def mortals(database_url: str, blob_url: str) -> Iterator[Mortals]:
    with closing(Mortals(database_url, blob_url)) as mortals:
        yield mortals


@pytest.fixture
def undisturbed(registry: Registry) -> Sequence[Seen]:
    """What is seen of a story after none, one, two … all of its deeds."""
    seen = [look(registry, 0)]
    for deed in STORY:
        deed(registry, 0)
        seen.append(look(registry, 0))
    return seen


def clear_up(registry: Registry, blobs: BlobStore) -> None:
    """What uploads that died have left: no row is without its blob, and what no row names may go."""
    referenced, stored = registry.referenced_digests(), {blob.digest for blob in blobs.list_blobs()}
    assert referenced <= stored
    for digest in stored - referenced:
        blobs.get(digest)  # whole, or else it is damaged
    removed = collect_garbage(registry, blobs, age=timedelta(seconds=-5), even_all=True).removed
    assert {blob.digest for blob in removed} == stored - referenced


@pytest.mark.parametrize(
    ("dialect", "blob_url"),
    [
        ("sqlite", "directory"),
        ("postgres", "s3"),
        # The steps of a database are the same whichever store it is beside.
        pytest.param("sqlite", "s3", marks=pytest.mark.deep),
        pytest.param("postgres", "directory", marks=pytest.mark.deep),
    ],
    indirect=True,
)
def test_a_kill_at_any_step_loses_nothing_and_leaves_nothing_half_done(
    registry: Registry, blobs: BlobStore, mortals: Mortals, undisturbed: Sequence[Seen]
) -> None:
    killed_at = Counter[str]()
    for done, deed in enumerate(STORY):
        before, after = undisturbed[done : done + 2]
        for die_at in count(1):
            death = mortals.live(Life(1, done, die_at))
            assert death.killed
            assert (death.done, len(death.steps)) == (0, die_at)
            killed_at[death.steps[-1]] += 1
            seen = look(registry, 1)
            assert seen in (before, after), f"deed {done}, killed at step {die_at} of {death.steps}"
            clear_up(registry, blobs)
            if seen == after:
                break
        # Done, though nobody was told so: whoever tries again is told, and changes nothing.
        with suppress(Conflict, NotFound):
            deed(registry, 1)
        assert look(registry, 1) == after
    assert killed_at["commit"] == killed_at["committed"] == len(STORY)


@pytest.mark.deep
def test_kills_at_any_moment_of_several_at_once_lose_nothing(
    registry: Registry, blobs: BlobStore, database_url: str, blob_url: str, undisturbed: Sequence[Seen]
) -> None:
    chance = random.Random(0)
    lives = [Life(number, die_after_s=chance.uniform(0.05, 0.6)) for number in range(1, 201)]
    with ExitStack() as stack, ThreadPoolExecutor(3) as threads:
        births = [stack.enter_context(closing(Mortals(database_url, blob_url))) for _ in range(3)]
        deaths = threads.map(lambda number: births[number % 3].live(lives[number]), range(len(lives)))
        for life, death in zip(lives, deaths, strict=True):
            told, next_one = undisturbed[death.done], undisturbed[min(death.done + 1, len(STORY))]
            seen = look(registry, life.number)
            assert seen in (told, next_one), f"{life} after {death.done} deeds at {death.steps[-1:]}"
            for deed in STORY[death.done + (seen != told) :]:
                deed(registry, life.number)
            assert look(registry, life.number) == undisturbed[-1]
    clear_up(registry, blobs)
    assert {look(registry, life.number) == undisturbed[-1] for life in lives} == {True}
