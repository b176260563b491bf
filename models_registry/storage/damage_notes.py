"""What a reader finds out about a blob's bytes, recorded for listings: a blob that is damaged, or sound again."""

from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Final

from models_registry.errors import Damaged, NotFound, RegistryError
from models_registry.records import AdapterVersion

GONE: Final = "are gone"


class DamageNotes:
    """Takes the registry's own verbs by a blob's digest. That a note can't be written now spoils no reading."""

    def __init__(
        self,
        is_referenced: Callable[[str], bool],
        mark_damaged: Callable[[str], None],
        mark_sound: Callable[[str], None],
    ) -> None:
        self._is_referenced = is_referenced
        self._mark_damaged = mark_damaged
        self._mark_sound = mark_sound
        self._found_damaged = set[str]()  # their versions, where they were found before, don't say so yet

    @contextmanager
    def noting(self, version: AdapterVersion) -> Generator[None]:
        """Around a reading of the version's blob. Raises `Damaged` where its bytes are wrong or gone, and `NotFound` if
        they went after the version did."""
        try:
            yield
        except (NotFound, Damaged) as error:
            damaged = error if isinstance(error, Damaged) else Damaged(version.digest, GONE)
            raise self.note_damage(version, damaged) from error
        self.note_soundness(version)

    def note_damage(self, version: AdapterVersion, error: Damaged) -> RegistryError:
        """Record what a read of the version's blob found. Returns the error for its caller."""
        if error.found == GONE and not self._may_be_referenced(version.digest):
            return NotFound(f"{version.reference} was removed, and its bytes with it.")
        self._found_damaged.add(version.digest)
        with suppress(RegistryError):
            self._mark_damaged(version.digest)
        return Damaged(version.digest, error.found)

    def is_doubted(self, version: AdapterVersion) -> bool:
        """Whether the version's blob was found to be wrong, and nobody has noted since that it is right."""
        return version.damaged or version.digest in self._found_damaged

    def note_soundness(self, version: AdapterVersion) -> None:
        """Somebody read the version's blob, and it was right."""
        if self.is_doubted(version):
            with suppress(RegistryError):
                self._mark_sound(version.digest)
                self._found_damaged.discard(version.digest)

    def _may_be_referenced(self, digest: str) -> bool:
        """Also while the database can't say."""
        try:
            return self._is_referenced(digest)
        except RegistryError:
            return True
