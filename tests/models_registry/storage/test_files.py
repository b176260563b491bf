import errno
import os
from pathlib import Path

import pytest

from models_registry.errors import NoRoom, RegistryError, Unavailable
from models_registry.storage.files import make_directory, translated, write_durably


@pytest.mark.parametrize(
    ("code", "ours"),
    [
        (errno.ENOSPC, NoRoom),
        (errno.EDQUOT, NoRoom),
        (errno.EROFS, Unavailable),
        (errno.EACCES, Unavailable),
        (errno.EIO, Unavailable),
    ],
)
def test_what_the_operating_system_refuses_is_told_in_our_words(code: int, ours: type[RegistryError]) -> None:
    with pytest.raises(ours, match="the shelf"), translated("the shelf"):
        raise OSError(code, os.strerror(code))


def test_bytes_are_durable_before_they_get_their_name_and_the_name_before_we_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, synced, fsync = tmp_path / "blob", list[tuple[str, bool]](), os.fsync

    def watch(descriptor: int) -> None:
        what = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append(("directory" if what == tmp_path else what.read_bytes().decode(), path.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    write_durably(path, b"all of it")

    assert synced == [("all of it", False), ("directory", True)]


def test_a_failed_write_leaves_the_old_bytes_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "blob"
    write_durably(path, b"old")

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "the disk broke")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="the disk broke"):
        write_durably(path, b"new")

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_missing_parents_are_created_and_an_existing_directory_is_fine(tmp_path: Path) -> None:
    for _ in range(2):
        make_directory(tmp_path / "a" / "b")

    assert (tmp_path / "a" / "b").is_dir()
