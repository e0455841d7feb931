"""Keys of pseudonyms: their form, their files, and the record of the key that a study's data depends on.

The record is `state/pseudonyms/<study>.json` with the fingerprint of the key. It is written before the first request
of a pseudonymous study. From then on, another key is refused, because one account would have two pseudonyms, and so
is collecting the study without pseudonyms. A study that has data with handles cannot become pseudonymous. The key
itself is never written. Not here: what is replaced (see tiktok/pseudonyms.py), the key of exports, which a first
export creates (see export/pseudonyms.py).
"""

from datetime import UTC, datetime
from pathlib import Path

import orjson

from research_assets.settings import VARIABLES, Settings, SettingsError
from research_assets.storage.file_locks import folder_lock
from research_assets.storage.files import private_folder, write_private
from research_assets.storage.listing import all_files, matching_paths
from research_assets.storage.raw_reader import query_raw
from research_assets.tiktok.pseudonyms import PATTERN, fingerprint

KEY_BYTES = 32
_KEY, _FILE = VARIABLES["pseudonym_key"].name, VARIABLES["pseudonym_key_file"].name
_ADVICE = (
    f"Create a key once with `openssl rand -hex {KEY_BYTES}`, keep a copy of it apart from the data, and write it into "
    f"a file outside of the data folder that only you can read, which {_FILE} names; or set {_KEY} to it."
)


class PseudonymKeyError(SettingsError):
    """There is no usable key of the pseudonyms, or not the one that the data was collected with. No request was sent.

    The message contains no key.
    """


def parse_key(text: str) -> bytes:
    """Return the key in a text of at least 64 hexadecimal digits. Raises ValueError, whose message has no key."""
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        raise ValueError("is not a number in hexadecimal digits") from None
    if len(key) < KEY_BYTES:
        raise ValueError(f"has {len(key) * 2} hexadecimal digits, but a key has at least {KEY_BYTES * 2}")
    return key


def read_key_file(path: Path) -> bytes:
    """Return the key in a file. Raises ValueError if it has none or if other users can read it, and OSError."""
    if path.stat().st_mode & 0o077:
        raise ValueError(f"can be read by other users. Run: chmod 600 {path}")
    try:
        return parse_key(path.read_text(encoding="ascii"))
    except UnicodeDecodeError:
        raise ValueError("is not a number in hexadecimal digits") from None


def collection_key(settings: Settings) -> bytes:
    """Return the key of pseudonymous studies, from the environment or the file that it names.

    Raises PseudonymKeyError if there is none, if it is too short, or if its file is in the data folder or readable by
    other users.
    """
    if settings.pseudonym_key:
        try:
            return parse_key(settings.pseudonym_key)
        except ValueError as error:
            raise PseudonymKeyError(f"{_KEY} cannot be used: it {error}. {_ADVICE}") from None
    if not settings.pseudonym_key_file:
        raise PseudonymKeyError(f"A pseudonymous study needs a key, but neither {_KEY} nor {_FILE} is set. {_ADVICE}")
    path = Path(settings.pseudonym_key_file)
    for folder in (settings.root, settings.dagster_home):
        if path.is_relative_to(folder.resolve()):
            raise PseudonymKeyError(
                f"{_FILE} names {path}, which is in {folder}: a copy of the data would contain the key. Move the file "
                "out of that folder, and delete it from backups of the folder."
            )
    try:
        return read_key_file(path)
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    except ValueError as error:
        reason = str(error)
    raise PseudonymKeyError(f"{_FILE} names {path}, which {reason}. {_ADVICE}")


def recorded_fingerprint(settings: Settings, study: str) -> str | None:
    """Return the fingerprint of the key that the data of a study was collected with; None if there is no record."""
    try:
        return str(orjson.loads(record_path(settings, study).read_bytes())["fingerprint"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError):
        raise PseudonymKeyError(
            f"The record {record_path(settings, study)} is damaged, so the key of the study {study} is unknown. "
            "Restore the file from a backup."
        ) from None


def pseudonymous_studies(settings: Settings) -> dict[str, str]:
    """Return the fingerprints of the keys of all studies with pseudonymous data, by study."""
    names = sorted(path.stem for path in matching_paths(_folder(settings), "*.json"))
    return {name: found for name in names if (found := recorded_fingerprint(settings, name)) is not None}


def require_same_key(settings: Settings, study: str, current: str | None) -> None:
    """Raise PseudonymKeyError unless data may be added to a study with the key of a fingerprint, or None: with handles.

    Nothing is written.
    """
    recorded = recorded_fingerprint(settings, study)
    if recorded is not None and current is None:
        raise PseudonymKeyError(
            f"The data of the study {study} has pseudonyms, so it cannot be collected with handles. No request was "
            "sent. Keep it pseudonymous (`pseudonymous: true` in the study file, `--pseudonymous` for a list of ids), "
            "or choose another name."
        )
    if recorded is not None and recorded != current:
        raise PseudonymKeyError(
            f"The data of the study {study} was collected with another key (fingerprint {recorded}, now {current}), so "
            f"each account would have two pseudonyms. No request was sent. Set {_KEY} or {_FILE} to the key of the "
            "first collection, or choose another name for a new study."
        )
    if recorded is None and current is not None and _has_handles(settings, study):
        raise PseudonymKeyError(
            f"The study {study} already has data that was collected with handles, which pseudonyms would not match "
            f"(there is no record {record_path(settings, study)}). No request was sent. Choose another name, or remove "
            f"its data first with: research-assets forget --study {study}"
        )


def record_key(settings: Settings, study: str, current: str | None, now: datetime) -> None:
    """Raise PseudonymKeyError as `require_same_key`; record the key of the first collection durably."""
    if current is None or recorded_fingerprint(settings, study) is not None:
        require_same_key(settings, study, current)
        return
    private_folder(_folder(settings))
    with folder_lock(_folder(settings)):
        require_same_key(settings, study, current)
        content = {"study": study, "fingerprint": current, "since": now.astimezone(UTC)}
        if recorded_fingerprint(settings, study) is None:
            write_private(record_path(settings, study), orjson.dumps(content))


def _has_handles(settings: Settings, study: str) -> bool:
    """Return whether a study has captures, or expected accounts that are no pseudonyms."""
    if any(any(all_files(folder)) for folder in matching_paths(settings.captures, f"*/study={study}")):
        return True
    rows = query_raw(
        settings.raw,
        "expected_units",
        f"study={study}/day=*",
        "SELECT 1 FROM {table} WHERE unit_kind = 'account' AND NOT regexp_full_match(unit, ?) LIMIT 1",
        [PATTERN],
    )
    return bool(rows)


def _folder(settings: Settings) -> Path:
    return settings.state / "pseudonyms"


def record_path(settings: Settings, study: str) -> Path:
    """Return the path of the record of a study."""
    return _folder(settings) / f"{study}.json"


def matching_key(settings: Settings) -> bytes | None:
    """Return the key of the pseudonymous data in the data folder; None if there is neither such data nor a key.

    Raises PseudonymKeyError if there is such data and the key is missing, or is not the one of each of its studies.
    """
    studies = pseudonymous_studies(settings)
    if not studies and not (settings.pseudonym_key or settings.pseudonym_key_file):
        return None
    try:
        key = collection_key(settings)
    except PseudonymKeyError:
        if not studies:
            # A file for exports alone may be in the data folder.
            return None
        raise
    for study in studies:
        require_same_key(settings, study, fingerprint(key))
    return key
