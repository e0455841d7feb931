"""Keyed pseudonyms: the same account or id has the same one in every export of a project.

Nobody without the key can compute or reverse it: HMAC-SHA256 of the kind and the value, cut to 80 bits. The key lies in
a file of its own, is created at the first use, and goes into no export, log or error. Which columns get a pseudonym is
said in `treatment`.
"""

import hmac
import os
import re
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from research_assets import files
from research_assets.export.order import ExportError

KEY_BYTES = 32
_HEX = 20
"""Characters of a pseudonym: among a hundred million values two are alike with a chance of 1 in 240 million."""

_LINK = r"(?P<link>(?:https?://|www\.)\S+)"
_MAIL = r"(?P<mail>[\w.+-]+@[\w-]+(?:\.[\w-]+)+)"
_HANDLE = r"[@\uff20](?P<handle>[\w.]*\w)"
# As long as an id is; a telephone number has 15 digits at most.
_ID = r"(?P<id>(?<!\d)\d{16,20}(?!\d))"
_WITHOUT_NAMES = re.compile("|".join((_LINK, _MAIL, _HANDLE, _ID)), re.IGNORECASE)

Scrub = Callable[[str, Sequence[str] | None], str]
Pseudonym = Callable[[str, str], str]


def read_key(path: Path) -> bytes:
    """The project's key; created where there is none, readable by its owner alone.

    Raises ExportError if the file holds no key, or if others can read it.
    """
    if not path.exists():
        files.private_folder(path.parent)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
        files.flush(temporary)
        try:
            # Not a rename: of two processes that begin at once, one key must win.
            path.hardlink_to(temporary)
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
        files.sync_folder(path.parent)
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


def pseudonyms(key: bytes) -> Pseudonym:
    """The function from kind and value to a pseudonym such as `video_3f9a…`; case does not matter."""

    def pseudonym(kind: str, value: str) -> str:
        digest = hmac.digest(key, f"{kind}\0{value.casefold()}".encode(), "sha256")
        return f"{kind}_{digest.hex()[:_HEX]}"

    return pseudonym


def scrubber(pseudonym: Pseudonym) -> Scrub:
    """The function that takes people out of a text: mentions become pseudonyms, links, addresses and ids go.

    Its second argument are names that the text is known to mention, such as display names with blanks.
    """

    def replaced(found: re.Match[str]) -> str:
        if found.lastgroup in ("name", "handle"):
            return "@" + pseudonym("user", found[found.lastgroup])
        return {"link": "[link]", "mail": "[address]"}.get(found.lastgroup or "", "[id]")

    def scrub(text: str, names: Sequence[str] | None) -> str:
        known = sorted(filter(None, names or ()), key=len, reverse=True)
        if not known:
            return _WITHOUT_NAMES.sub(replaced, text)
        name = rf"[@\uff20](?P<name>{'|'.join(map(re.escape, known))})(?!\w)"
        # In one pass: what was put in is not looked at again.
        return re.sub("|".join((_LINK, _MAIL, name, _HANDLE, _ID)), replaced, text, flags=re.IGNORECASE)

    return scrub
