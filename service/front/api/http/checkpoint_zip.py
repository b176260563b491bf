"""A PEFT checkpoint as one .zip, such as `GET …/checkpoint` gives: its two files, and nothing else, are read.

The caller's zip is never unpacked to names of its own. Its directory is measured before it is read, and each file is
read up to the limit that it would have as a form's part, whatever the zip says of its size.
"""

import errno
import zipfile
import zlib
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import BinaryIO

from models_registry.errors import Invalid, TooLarge
from models_registry.records import Fault
from service.front.api.http.spool import IN_MEMORY, Spool

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

_END, _END_SIZE, _ZIP64 = b"PK\x05\x06", 22, b"PK\x06\x07"
_LONGEST_COMMENT = 0xFFFF
_MOST_FILES, _MOST_DIRECTORY = 64, 64 * 1024
_BLOCK = 256 * 1024
"""Bytes."""
_UNREADABLE = (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, ValueError)
"""What zipfile raises for a file that is damaged or encrypted."""
_COMPRESSED = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
"""Others take as much memory as the caller's file asks for."""


@dataclass(frozen=True, slots=True)
class ZippedCheckpoint:
    config: bytes
    weights: Spool


def read_checkpoint(file: BinaryIO, max_config: int, max_weights: int) -> ZippedCheckpoint:
    """Its two files; who calls closes `weights.file`. May block. Raises `Invalid`, and `TooLarge` beyond the limits in
    bytes."""
    _require_small_directory(file)
    weights = SpooledTemporaryFile[bytes](IN_MEMORY)
    try:
        with zipfile.ZipFile(file) as archive:
            _require_both(archive)
            config = SpooledTemporaryFile[bytes](IN_MEMORY)
            with config:
                _copy(archive, CONFIG, config, max_config)
                config.seek(0)
                text = config.read()
            return ZippedCheckpoint(text, Spool(weights, _copy(archive, WEIGHTS, weights, max_weights)))
    except _UNREADABLE as error:
        weights.close()
        raise _invalid(f"can't be read as a .zip: {error}") from error
    except BaseException as error:
        weights.close()
        if isinstance(error, OSError) and error.errno == errno.EINVAL:  # an offset before the file's begin
            raise _invalid("can't be read as a .zip: an offset in it leads nowhere") from error
        raise


def _require_small_directory(file: BinaryIO) -> None:
    """Reading it takes memory for each file that it lists, of which a large upload could list millions."""
    size = file.seek(0, 2)
    file.seek(max(size - _END_SIZE - _LONGEST_COMMENT - 20, 0))
    tail = file.read()
    plain = tail[-_END_SIZE:].startswith(_END) and tail.endswith(bytes(2))
    end = len(tail) - _END_SIZE if plain else tail.rfind(_END)
    if end < 0 or len(tail) < end + _END_SIZE:
        raise _invalid("is no .zip")
    files = int.from_bytes(tail[end + 10 : end + 12], "little")
    directory = int.from_bytes(tail[end + 12 : end + 16], "little")
    if files > _MOST_FILES or directory > _MOST_DIRECTORY or tail[max(end - 20, 0) : end].startswith(_ZIP64):
        raise _invalid(f"is no checkpoint: its directory is larger than that of {_MOST_FILES} files")


def _require_both(archive: zipfile.ZipFile) -> None:
    names = archive.namelist()
    missing = [name for name in (CONFIG, WEIGHTS) if name not in names]
    if missing:
        raise _invalid(f"has no {' and no '.join(missing)} at its root; zip the two files without a folder")
    if repeated := [name for name in (CONFIG, WEIGHTS) if names.count(name) > 1]:
        raise _invalid(f"has {' and '.join(repeated)} more than once")
    if not {archive.getinfo(name).compress_type for name in (CONFIG, WEIGHTS)} <= _COMPRESSED:
        raise _invalid("is compressed in another way than deflate; zip it anew")


def _copy(archive: zipfile.ZipFile, name: str, to: SpooledTemporaryFile[bytes], limit: int) -> int:
    """The bytes that were copied."""
    size = 0
    with archive.open(name) as member:
        while block := member.read(_BLOCK):
            size += len(block)
            if size > limit:
                raise TooLarge(f"{name} in the checkpoint is larger than {limit} bytes, the service's limit.")
            to.write(block)
    return size


def _invalid(what: str) -> Invalid:
    return Invalid(f"The checkpoint {what}.", [Fault(("checkpoint",), what)])
