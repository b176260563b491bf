"""Which files this process holds open: by what they are, for numbers are given again."""

import os
import stat
from contextlib import suppress
from pathlib import Path


def open_files() -> frozenset[tuple[int, int]]:
    """Device and inode of each; not of connections, which a pool may keep. What is open now and wasn't before was left
    open; others may be closed meanwhile, such as what earlier tests have left to a collection."""
    found: set[tuple[int, int]] = set()
    for descriptor in Path("/dev/fd").iterdir():
        with suppress(OSError):  # the listing's own, which is closed again
            status = os.fstat(int(descriptor.name))
            if stat.S_ISREG(status.st_mode):
                found.add((status.st_dev, status.st_ino))
    return frozenset(found)
