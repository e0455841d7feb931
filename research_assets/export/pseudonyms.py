"""Keyed pseudonyms: the same account or id has the same one in every export of a project.

Nobody without the key can compute or reverse it: HMAC-SHA256 of the kind and the value, cut to 80 bits. The key lies in
a file of its own, is created at the first use, and goes into no export, log or error. Which columns get a pseudonym is
said in `treatment`.
"""

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase

import duckdb

from research_assets.export.request import ExportError
from research_assets.storage import files

KEY_BYTES = 32
_HEX = 20
"""Characters of a pseudonym: among a hundred million values two are alike with a chance of 1 in 240 million."""

_BLOCK = 64
"""Bytes that SHA-256 works on at once: HMAC fills the key up to them."""
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)

_LINK = r"(?P<link>(?:https?://|www\.)\S+)"
# Looked for at the beginning of a word only, or each letter of it would be tried.
_MAIL = r"(?P<mail>(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+)"
_HANDLE = r"[@\uff20](?P<handle>[\w.]*\w)"
# As long as an id is; a telephone number has 15 digits at most.
_ID = r"(?P<id>(?<!\d)\d{16,20}(?!\d))"
_MAY_IDENTIFY = re.compile(r"[@\uff20]|://|www\.|\d{16}", re.IGNORECASE)
"""Without one of these in it, a text holds nothing to be taken out: most texts are done with at once."""
_IDENTIFIERS = re.compile("|".join((_LINK, _MAIL, _HANDLE, _ID)), re.IGNORECASE)

Scrub = Callable[[str, Sequence[str] | None], str]
Pseudonym = Callable[[str, str], str]


def load_or_create_key(path: Path) -> bytes:
    """The project's key; created where there is none, readable by its owner alone.

    Raises ExportError if the file holds no key, or if others can read it.
    """
    if not path.exists():
        files.private_folder(path.parent)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
        files.fsync_file(temporary)
        try:
            # Not a rename: of two processes that begin at once, one key must win.
            path.hardlink_to(temporary)
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
        files.fsync_folder(path.parent)
    if path.stat().st_mode & 0o077:
        raise ExportError(f"The key {path} can be read by others. Nothing was exported. Run: chmod 600 {path}")
    try:
        key = bytes.fromhex(path.read_text().strip())
    except ValueError:
        key = b""
    if len(key) < KEY_BYTES:
        raise ExportError(
            f"The file {path} holds no key of {KEY_BYTES * 2} hexadecimal digits. Nothing was exported. Put the key "
            "back that earlier exports were made with, or remove the file to begin with a new one."
        )
    return key


def make_pseudonymizer(key: bytes) -> Pseudonym:
    """The function from kind and value to a pseudonym such as `video_3f9a…`; accounts are the same in capitals."""

    def pseudonym(kind: str, value: str) -> str:
        folded = value.translate(_LOWER) if kind == "user" else value
        digest = hmac.digest(key, f"{kind}\0{folded}".encode(), "sha256")
        return f"{kind}_{digest.hex()[:_HEX]}"

    return pseudonym


def register(connection: duckdb.DuckDBPyConnection, key: bytes) -> None:
    """Make `pseudonym(kind, value)` and `scrub(text, names)` known to a connection; `unregister` before it is closed.

    The first is HMAC written out in SQL: in half the time of a call of Python, and on all cores.
    """
    block = (key if len(key) <= _BLOCK else hashlib.sha256(key).digest()).ljust(_BLOCK, b"\0")
    for name, byte in (("pad_inner", 0x36), ("pad_outer", 0x5C)):
        # A variable, so that no statement and no error holds the key.
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
    """Forget them: a function that outlives its connection is told of as a leak when the process ends."""
    connection.remove_function("scrub")


def make_scrubber(pseudonym: Pseudonym) -> Scrub:
    """The function that takes people out of a text: mentions become pseudonyms, links, addresses and ids go.

    Its second argument are names that the text is known to mention, such as display names with blanks.
    """

    def replaced(found: re.Match[str]) -> str:
        if found.lastgroup in ("name", "handle"):
            return "@" + pseudonym("user", found[found.lastgroup])
        return {"link": "[link]", "mail": "[address]"}.get(found.lastgroup or "", "[id]")

    def scrub(text: str, names: Sequence[str] | None) -> str:
        if not _MAY_IDENTIFY.search(text):
            return text
        known = sorted(filter(None, names or ()), key=len, reverse=True)
        if not known:
            return _IDENTIFIERS.sub(replaced, text)
        name = rf"[@\uff20](?P<name>{'|'.join(map(re.escape, known))})(?!\w)"
        # In one pass: what was put in is not looked at again.
        return re.sub("|".join((_LINK, _MAIL, name, _HANDLE, _ID)), replaced, text, flags=re.IGNORECASE)

    return scrub
