"""What a reader finds out about a blob's bytes, noted for those who look: a blob that is wrong, or right again."""

from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

from models_registry.errors import Damaged, NotFound, RegistryError
from models_registry.records import AdapterVersion


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
            if isinstance(error, NotFound) and not self._may_be_referenced(version.digest):
                raise NotFound(f"{version.reference} was removed, and its bytes with it.") from error
            self._found_damaged.add(version.digest)
            with suppress(RegistryError):
                self._mark_damaged(version.digest)
            raise Damaged(version.digest, error.found if isinstance(error, Damaged) else "are gone") from error
        if version.damaged or version.digest in self._found_damaged:
            with suppress(RegistryError):
                self._mark_sound(version.digest)
                self._found_damaged.discard(version.digest)

    def _may_be_referenced(self, digest: str) -> bool:
        """Also while the database can't say."""
        try:
            return self._is_referenced(digest)
        except RegistryError:
            return True
