"""A disk that can be full or read-only, for whoever writes to it."""

import os
import resource
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

SIZE_BYTES = 1 << 20


class Disk:
    """What is mounted at `path`: a real file system of `SIZE_BYTES`, or what comes near it where nobody may mount."""

    def __init__(self, path: Path, mounted: bool) -> None:
        self.path = path
        self._mounted = mounted

    @contextmanager
    def full(self) -> Generator[None]:
        """Not a byte more fits meanwhile."""
        if not self._mounted:
            with files_of_at_most(0):
                yield
            return
        filler = self.path / "filler"
        with filler.open("wb", buffering=0) as file:
            while _takes_more(file.fileno()):
                pass
        try:
            yield
        finally:
            filler.unlink()

    @contextmanager
    def read_only(self) -> Generator[None]:
        """Nothing can be written meanwhile; nor read, without a mount and for a user whom no permission holds back."""
        if self._mounted:
            subprocess.run(["mount", "-o", "remount,ro", self.path], check=True)
            try:
                yield
            finally:
                subprocess.run(["mount", "-o", "remount,rw", self.path], check=True)
        elif os.geteuid() != 0:
            self.path.chmod(0o555)
            try:
                yield
            finally:
                self.path.chmod(0o755)
        else:
            elsewhere = self.path.rename(self.path.with_name("elsewhere"))
            try:
                yield
            finally:
                elsewhere.rename(self.path)


@contextmanager
def disk_at(path: Path) -> Generator[Disk]:
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "tmpfs", str(path)]
    mounted = subprocess.run(mount, check=False, capture_output=True).returncode == 0
    try:
        yield Disk(path, mounted)
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", path], check=True)


def _takes_more(descriptor: int) -> bool:
    try:
        return os.write(descriptor, bytes(4096)) > 0
    except OSError:
        return False


@contextmanager
def files_of_at_most(size: int) -> Generator[None]:
    """No file of this process grows beyond `size` bytes meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
