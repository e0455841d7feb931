"""The log of withdrawn items: videos, comments and accounts that must not be in any file again.

`state/withdrawals.jsonl` has one line with checksum per withdrawn item, and no content: the id of a video or a comment;
of an account the keyed hash of its handle (HMAC-SHA256), so that the log names nobody. The key is
`state/keys/withdrawals.key`, readable by its owner only.

An account that verification did not find has not objected: its profile and lists are removed once and may be collected
again, so it is no withdrawn item for a later collection.

Not here: what is removed from an answer (see withheld.py) and from the files (see compliance/).
"""

import hmac
import secrets
from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import orjson

from research_assets.storage.checked_lines import add_checksum, append_durably, is_intact
from research_assets.storage.file_locks import folder_lock
from research_assets.storage.files import digest_of, private_folder, write_private
from research_assets.tiktok.names import fold_handle

Kind = Literal["video", "comment", "account"]
FoundBy = Literal["forgotten", "compliance", "lookup"]
"""How a withdrawal was found: a request of a person, batch compliance (reference 3.11), or a search for the item."""

_KEY_BYTES = 32
_MAX_REMEMBERED = 100_000
"""Handles whose hash a process remembers."""


class WithdrawalError(Exception):
    """The log of withdrawals cannot be used; the message states the cause and what to do."""


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """One line of the log. `id` is the 64-bit id of a video or a comment, or the keyed hash of a handle."""

    kind: Kind
    id: int | str
    at: datetime
    found_by: FoundBy
    receipt: str

    @property
    def is_permanent(self) -> bool:
        """Whether the item is never stored again: all but accounts that a look-up did not find."""
        return self.kind != "account" or self.found_by != "lookup"


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The withdrawn items: ids of videos and comments, and keyed hashes of handles with their key.

    Of the accounts in `profiles`, only the profile and the lists go; only the removal that withdraws them has them.
    `pseudonyms` are those of withdrawn accounts that a pseudonymous study has met in this run. `n_damaged` is the
    number of lines of the log that cannot be read.
    """

    videos: frozenset[int] = frozenset()
    comments: frozenset[int] = frozenset()
    accounts: frozenset[str] = frozenset()
    key: bytes = b""
    n_damaged: int = 0
    profiles: frozenset[str] = frozenset()
    pseudonyms: Set[str] = frozenset()
    _remembered: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    def __bool__(self) -> bool:
        """Return whether anything is withdrawn."""
        return bool(self.videos or self.comments or self.accounts or self.profiles)

    def has_account(self, handle: object) -> bool:
        """Return whether a value is the handle of a withdrawn account, in any spelling, or a pseudonym of one."""
        return bool(self.accounts) and (self._is_pseudonym(handle) or self._hash(handle) in self.accounts)

    def has_profile(self, handle: object) -> bool:
        """Return whether a value is the handle of an account whose profile and lists are withdrawn, in any spelling."""
        if not self.accounts and not self.profiles:
            return False
        known = self._hash(handle)
        return self._is_pseudonym(handle) or known in self.accounts or known in self.profiles

    def _is_pseudonym(self, handle: object) -> bool:
        return isinstance(handle, str) and handle in self.pseudonyms

    def _hash(self, handle: object) -> str:
        """Return the keyed hash of a handle, empty if the value is none."""
        if not isinstance(handle, str) or not handle:
            return ""
        known = self._remembered.get(handle)
        if known is None:
            if len(self._remembered) >= _MAX_REMEMBERED:
                self._remembered.clear()
            known = self._remembered[handle] = hash_handle(self.key, handle)
        return known


def log_path(state: Path) -> Path:
    """Return the path of the log."""
    return state / "withdrawals.jsonl"


def key_path(state: Path) -> Path:
    """Return the path of the key of the hashes."""
    return state / "keys" / "withdrawals.key"


def hash_handle(key: bytes, handle: str) -> str:
    """Return the keyed hash of a handle; its case and a leading `@` are ignored."""
    return hmac.digest(key, fold_handle(handle).encode("utf-8", "surrogatepass"), "sha256").hex()


def load_or_create_key(state: Path) -> bytes:
    """Return the key; a new one is created if there is none and no account depends on it. Raises WithdrawalError."""
    path = key_path(state)
    if not path.exists():
        private_folder(path.parent)
        with folder_lock(path.parent):
            if not path.exists():
                if any(one.kind == "account" and one.is_permanent for one in _read(state)[0]):
                    raise WithdrawalError(_key_message(path, "is missing"))
                write_private(path, f"{secrets.token_hex(_KEY_BYTES)}\n".encode())
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise WithdrawalError(_key_message(path, "contains no key"))
    return key


def _key_message(path: Path, fault: str) -> str:
    return (
        f"The key {path} {fault}. Without it, accounts that objected cannot be recognized. No request was sent and "
        "nothing was changed. Restore the file from a backup."
    )


def append_withdrawals(state: Path, items: Iterable[Withdrawal]) -> None:
    """Append items to the log durably."""
    private_folder(state)
    lines = [
        add_checksum(
            orjson.dumps(
                {
                    "kind": one.kind,
                    "id": one.id,
                    "at": one.at.astimezone(UTC),
                    "found_by": one.found_by,
                    "receipt": one.receipt,
                }
            )
        )
        for one in items
    ]
    if lines:
        append_durably(log_path(state), b"".join(lines))


def read_withdrawals(state: Path) -> list[Withdrawal]:
    """Return the lines of the log that can be read, oldest first."""
    return _read(state)[0]


def _read(state: Path) -> tuple[list[Withdrawal], int]:
    """Return the readable lines, and the number of lines that are damaged, without one that a kill cut off."""
    try:
        lines = log_path(state).read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return [], 0
    items, n_damaged = [], 0
    for number, line in enumerate(lines, 1):
        if is_intact(line):
            items.append(_parse(orjson.loads(line)))
        elif line.strip() and (number < len(lines) or line.endswith(b"\n")):
            n_damaged += 1
    return items, n_damaged


def _parse(line: dict[str, Any]) -> Withdrawal:
    return Withdrawal(line["kind"], line["id"], datetime.fromisoformat(line["at"]), line["found_by"], line["receipt"])


_read_before: dict[Path, tuple[tuple[int, int, int], Withdrawn]] = {}
"""The log of each data folder as this process read it, with the inode, size and time of change of its file."""


def read_withdrawn(state: Path) -> Withdrawn:
    """Return the withdrawn items of a data folder; the log is read again when it has changed.

    Raises WithdrawalError if the key is lost.
    """
    try:
        status = log_path(state).stat()
    except (FileNotFoundError, NotADirectoryError):
        # A file in place of the data folder is reported where the folder is created.
        return Withdrawn()
    stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
    before = _read_before.get(state)
    if before is not None and before[0] == stamp:
        return before[1]
    items, n_damaged = _read(state)
    ids: dict[Kind, set[Any]] = {"video": set(), "comment": set(), "account": set()}
    for one in items:
        if one.is_permanent:
            ids[one.kind].add(one.id)
    key = load_or_create_key(state) if ids["account"] else b""
    withdrawn = Withdrawn(frozenset(ids["video"]), frozenset(ids["comment"]), frozenset(ids["account"]), key, n_damaged)
    _read_before[state] = stamp, withdrawn
    return withdrawn


def withdrawn_beside(raw: Path) -> Withdrawn:
    """Return the withdrawn items of the data folder of the raw tables in `raw` (see settings.py)."""
    return read_withdrawn(raw.parent / "state")


def log_digest(state: Path) -> str:
    """Return the SHA-256 of the log, for receipts; that of an empty file if there is none."""
    return digest_of(log_path(state))
