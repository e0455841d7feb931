"""Keyed pseudonyms: the same account or id has the same pseudonym in every export of a project.

A pseudonym is the HMAC-SHA256 of kind and value, cut to 80 bits. It can be neither computed nor reversed without the
key. The key is in a separate file, is created at the first use, and is never written to an export, log or error.
Not here: which columns get a pseudonym (see treatment.py), what is found in texts (see tiktok/identifiers.py).
"""

import hashlib
import os
import secrets
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase

import duckdb

from research_assets.export.request import ExportError
from research_assets.storage import files
from research_assets.storage.file_locks import locked
from research_assets.storage.pseudonym_keys import KEY_BYTES, read_key_file
from research_assets.tiktok.identifiers import replace_identifiers
from research_assets.tiktok.pseudonyms import keyed_digest

_HEX = 20
"""Hexadecimal digits of a pseudonym. Two of 100 million values have the same with a probability of 1 in 240 million."""

_BLOCK = 64
"""Block size of SHA-256 (bytes), to which HMAC pads the key."""
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)

Scrub = Callable[[str, Sequence[str] | None], str]
Pseudonym = Callable[[str, str], str]


def load_or_create_key(path: Path) -> bytes:
    """Return the project's key. A new key is created if the file does not exist, readable by its owner only.

    Raise ExportError if the file contains no key, or if other users can read it.
    """
    if not path.exists() or not path.stat().st_size:
        _create_key(path)
    try:
        return read_key_file(path)
    except ValueError as error:
        raise ExportError(
            f"The key {path} {error}. Nothing was exported. If the key is damaged, restore that of earlier exports, or "
            "delete the file to create a new one."
        ) from None


def _create_key(path: Path) -> None:
    """Write a new key. Of several processes that start at the same time, one writes, and all use its key.

    An empty file is that of a process that was killed here, before it used a key.
    """
    files.private_folder(path.parent)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with locked(handle, path):
        if not os.fstat(handle).st_size:
            os.write(handle, f"{secrets.token_hex(KEY_BYTES)}\n".encode())
    files.fsync_file(path)
    files.fsync_folder(path.parent)


def make_pseudonymizer(key: bytes) -> Pseudonym:
    """Return the function from kind and value to a pseudonym such as `video_3f9a…`. The case of accounts is ignored."""

    def pseudonym(kind: str, value: str) -> str:
        folded = value.translate(_LOWER) if kind == "user" else value
        return f"{kind}_{keyed_digest(key, kind, folded).hex()[:_HEX]}"

    return pseudonym


def register(connection: duckdb.DuckDBPyConnection, key: bytes) -> None:
    """Define `pseudonym(kind, value)` and `scrub(text, names)` on a connection; call `unregister` before closing it.

    `pseudonym` is HMAC written in SQL, which takes half the time of a Python function and uses all cores.
    """
    block = (key if len(key) <= _BLOCK else hashlib.sha256(key).digest()).ljust(_BLOCK, b"\0")
    for name, byte in (("pad_inner", 0x36), ("pad_outer", 0x5C)):
        # A variable keeps the key out of statements and errors.
        connection.execute(f"SET VARIABLE {name} = $pad::BLOB", {"pad": bytes(part ^ byte for part in block)})
    folded = f"CASE kind WHEN 'user' THEN translate(value, '{ascii_uppercase}', '{ascii_lowercase}') ELSE value END"
    inner = f"unhex(sha256(getvariable('pad_inner') || encode(kind || chr(0) || {folded})))"
    connection.execute(
        "CREATE TEMP MACRO pseudonym(kind, value) AS "
        f"kind || '_' || left(sha256(getvariable('pad_outer') || {inner}), {_HEX})"
    )
    text, texts = duckdb.sqltype("VARCHAR"), duckdb.sqltype("VARCHAR[]")
    connection.create_function("scrub", make_scrubber(make_pseudonymizer(key)), [text, texts], text)


def unregister(connection: duckdb.DuckDBPyConnection) -> None:
    """Remove the function `scrub`; otherwise a memory leak is reported when the process ends."""
    connection.remove_function("scrub")


def make_scrubber(pseudonym: Pseudonym) -> Scrub:
    """Return the function that replaces identifiers in a text.

    The second argument of the function is a list of names that belong to the text: the accounts of its row, and
    mentioned names that no pattern finds, such as display names with spaces.
    """

    def scrub(text: str, names: Sequence[str] | None) -> str:
        return replace_identifiers(text, partial(pseudonym, "user"), [*filter(None, names or ())])

    return scrub
