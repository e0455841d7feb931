"""Lines of JSON that end with a checksum of their bytes: the lines of journals, digest logs and withdrawal logs.

A line is a JSON object whose last member is the CRC-32 of all bytes before it, as 8 hexadecimal digits in a fixed
place: `{…,"crc32":"0a1b2c3d"}` and a line feed. Readers of JSON ignore the member. Not here: what the lines say (see
captures.py, raw_digests.py).
"""

import os
import zlib
from pathlib import Path

from research_assets.storage.file_locks import locked
from research_assets.storage.files import fdatasync, fsync_folder

_MEMBER = b',"crc32":"'
_END = b'"}\n'
_TRAILER_SIZE = len(_MEMBER) + 8 + len(_END)

_SECTOR = 512
"""Bytes that a disk writes at once. After a power failure, parts of a file that were not written are zero."""


def add_checksum(text: bytes) -> bytes:
    """Return the JSON text of an object as a line with checksum; the object must not be empty."""
    body = text[:-1]
    return b"".join((body, _MEMBER, b"%08x" % zlib.crc32(body), _END))


def is_intact(line: bytes) -> bool:
    """Return whether a line has its checksum."""
    body, trailer = memoryview(line)[:-_TRAILER_SIZE], line[-_TRAILER_SIZE:]
    return trailer == b"".join((_MEMBER, b"%08x" % zlib.crc32(body), _END))


def is_torn(line: bytes) -> bool:
    """Return whether the last line of a file was not written completely, so that its writer never acknowledged it.

    A kill leaves the beginning of a line; a power failure may leave zeros. A complete line whose line feed changed is
    not torn, because its checksum shows that all of it was written.
    """
    if not line.endswith(b"\n"):
        return not is_intact(line[:-1] + b"\n")
    return not line.strip(b"\0\n") or bytes(_SECTOR) in line


def append_durably(log: Path, lines: bytes) -> None:
    """Append complete lines to a log durably, one writer at a time; creates the log with mode 0600."""
    is_new = not log.exists()
    handle = os.open(log, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with locked(handle, log):
        # A kill may have left the beginning of a line; without a line feed it would spoil the next one.
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":
            lines = b"\n" + lines
        while lines:
            lines = lines[os.write(handle, lines) :]
        fdatasync(handle)
    if is_new:
        fsync_folder(log.parent)
