"""The registry's side of blobs: the bytes of versions, read, put, opened and marked where they are wrong."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import BinaryIO, Final

from sqlalchemy import update
from sqlalchemy.orm import Session

from models_registry.records import AdapterVersion
from models_registry.storage import adapter_rows, damage
from models_registry.storage.blobs import BlobStore
from models_registry.storage.damage_notes import DamageNotes
from models_registry.storage.database import Database
from models_registry.storage.tables import GenerationRow


class RegistryBlobs:
    """What `Registry` does with blobs."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs
        self.damage: Final = DamageNotes(self.is_referenced, self.mark_damaged, self.mark_sound)

    def read_weights(self, version: AdapterVersion) -> bytes:
        """The version's safetensors bytes, verified; what is found is recorded for listings. Raises `Damaged` if they
        are not what was stored, or gone, and `NotFound` if they were removed after the version."""
        with self.damage.noting(version):
            return self._blobs.get(version.digest)

    def put_weights(self, weights: bytes) -> str:
        """Store bytes that a version may name afterwards, and return their digest (hex). Raises `NoRoom`."""
        return self._blobs.put(weights)

    def open_weights(self, version: AdapterVersion) -> BinaryIO:
        """As `read_weights`, as a file of the operating system's for the caller to close. Raises `NoRoom` too."""
        with self.damage.noting(version):
            return self._blobs.open(version.digest)

    def presign_weights(self, version: AdapterVersion, expires_s: int) -> str | None:
        """A URL from which anybody may read the version's bytes for `expires_s` seconds, not verified by us; None where
        the store has no URLs."""
        return self._blobs.presign(version.digest, expires_s)

    def mark_damaged(self, digest: str) -> None:
        """The blob's bytes are wrong or gone: the versions that name it are listed as `damaged`, if there are any."""
        with self._database.read() as session:
            if damage.is_damaged(session, digest) or not adapter_rows.is_referenced(session, digest):
                return
        with self._write() as session:
            damage.mark_damaged(session, digest)

    def mark_sound(self, digest: str) -> None:
        """The blob's bytes were seen to be right again."""
        with self._database.read() as session:
            if not damage.is_damaged(session, digest):
                return
        with self._write() as session:
            damage.mark_sound(session, digest)

    def is_referenced(self, digest: str) -> bool:
        """Whether any version names the blob."""
        with self._database.read() as session:
            return adapter_rows.is_referenced(session, digest)

    def referenced_digests(self) -> frozenset[str]:
        """Every blob that a version names."""
        with self._database.read() as session:
            return adapter_rows.referenced_digests(session)

    def ping_blobs(self) -> None:
        """Return if blobs can be read and written now. Raises `Unavailable`."""
        self._blobs.ping()

    @contextmanager
    def _write(self) -> Generator[Session]:
        # Raising the generation first takes its row's lock: writers come one after another on every database, so what
        # one of them has read stays true until it commits, and events are numbered in the order of the commits.
        with self._database.write() as session:
            session.execute(update(GenerationRow).values(value=GenerationRow.value + 1))
            yield session
