"""The record of what defined a study at its first collection, and of later changes of its study file.

The record is `state/provenance/<study>.json`. The first collection fixes the parsed specification; a later collection
with another one appends the changed keys, their old and new values, and the number of days collected until then. The
first entry is never replaced. Whitespace, comments and the order of keys are no part of the specification, and neither
are the keys that do not define the data: `title`, `owners`, `quota_weight`, `delete_after` and `verify_by`. Keys with
their default are left out, so that writing a default into the file is no change.

Accounts are personal data: a panel, or a condition on accounts, is recorded as their number and one SHA-256 of all of
them; in a pseudonymous study that of their keyed pseudonyms. Not here: when the record is written (see collect/run.py).
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from research_assets.settings import Settings
from research_assets.storage.captures import software_version
from research_assets.storage.file_locks import folder_lock
from research_assets.storage.files import private_folder, write_private
from research_assets.storage.withdrawals import read_withdrawn
from research_assets.storage.withheld import Cleaner
from research_assets.study.spec import StudySpec
from research_assets.text import one_line

_OTHER_KEYS = ("title", "owners", "quota_weight", "delete_after", "verify_by")
"""Keys of a study file that do not define the data."""

_NOT_DEFINING = frozenset(
    {"name", *_OTHER_KEYS}
    # What the loader adds.
    | {"left_out", "all_left_out", "pseudonyms", "declared"}
)
"""Attributes of `StudySpec` that do not define the data. A new attribute defines them unless it is named here."""

IDENTIFYING_FIELDS = frozenset({"username", "video_id", "music_id"})
"""Fields of a condition whose values name an account, or lead to one."""
_FILE_KEYS = {"day_sample": "days"}
"""Keys of the study file that are named otherwise than the attribute."""

_MAX_VALUE = 300
"""Characters of a value that a sentence shows; the record has all of it."""

Contents = Mapping[str, Any]
"""A specification as JSON: the defining keys that are not at their default."""


class ProvenanceError(Exception):
    """The record of a study cannot be read."""


@dataclass(frozen=True, slots=True)
class Held:
    """Days of videos and units of all entities that are stored, whether complete or in part."""

    days: int
    units: int


@dataclass(frozen=True, slots=True)
class Version:
    """A specification that was recorded: when (UTC), by which software, its SHA-256, and what was held before."""

    at: datetime
    software: str
    sha256: str
    held: Held
    contents: Contents


@dataclass(frozen=True, slots=True)
class Provenance:
    """The record of a study: versions in the order of collection, and those of preregistrations."""

    collected: tuple[Version, ...] = ()
    preregistered: tuple[Version, ...] = ()

    @property
    def first(self) -> Version | None:
        """The version of the first collection; None before it."""
        return self.collected[0] if self.collected else None

    @property
    def changes(self) -> Iterator[tuple[Version, Version]]:
        """Each later version with the one before it."""
        return zip(self.collected, self.collected[1:], strict=False)


def with_declared(study: StudySpec, declared: StudySpec) -> StudySpec:
    """Return a study with the contents of the one that its file declares, so that no withdrawal is a change of it."""
    return replace(study, declared=describe_study(declared))


def contents_of(study: StudySpec) -> Contents:
    """Return what defines the data of a study, as its file declares it."""
    return describe_study(study) if study.declared is None else study.declared


def has_same_file(one: StudySpec, other: StudySpec) -> bool:
    """Return whether two studies are declared alike, whatever accounts removals leave out of them."""
    others_equal = all(getattr(one, key) == getattr(other, key) for key in _OTHER_KEYS)
    return others_equal and contents_of(one) == contents_of(other)


def study_hash(contents: Contents) -> str:
    """Return the SHA-256 of a parsed specification: of its JSON with sorted keys, without blanks, in UTF-8."""
    return hashlib.sha256(_canonical(contents)).hexdigest()


def describe_study(study: StudySpec) -> dict[str, Any]:
    """Return the defining keys of a study that are not at their default, without names of accounts."""
    contents: dict[str, Any] = {}
    for field in fields(StudySpec):
        if field.name in _NOT_DEFINING:
            continue
        value = getattr(study, field.name)
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        if value != default:
            contents[_FILE_KEYS.get(field.name, field.name)] = _value(field.name, value)
    # As it is when it is read from the record.
    return dict(json.loads(_canonical(contents)))


def _value(name: str, value: Any) -> Any:
    if name == "panel":
        return _counted(value)
    if name == "query":
        return {group: [_condition(one) for one in conditions] for group, conditions in value.items()}
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def _condition(condition: Mapping[str, Any]) -> dict[str, Any]:
    values = [str(value) for value in condition["field_values"]]
    if condition["field_name"] in IDENTIFYING_FIELDS:
        return {**condition, "field_values": _counted(values)}
    if condition["field_name"] == "keyword" and (mentions := [value for value in values if "@" in value]):
        return {**condition, "field_values": [*(value for value in values if "@" not in value), _counted(mentions)]}
    return dict(condition)


def _counted(names: Iterable[str]) -> dict[str, Any]:
    distinct = sorted({name.casefold() for name in names})
    return {"values": len(distinct), "sha256": hashlib.sha256(_canonical(distinct)).hexdigest()}


def _canonical(value: Any) -> bytes:
    def convert(other: object) -> Any:
        return other.isoformat() if isinstance(other, date) else list(other)  # type: ignore[call-overload]

    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=convert).encode()


def collecting_software() -> str:
    """Return the name and version of this package."""
    return f"research-assets {software_version()}"


def provenance_path(settings: Settings, study: str) -> Path:
    """Return the path of the record of a study."""
    return settings.state / "provenance" / f"{study}.json"


def record_collection(settings: Settings, study: StudySpec, now: datetime, count: Callable[[], Held]) -> bool:
    """Record the specification with which a study is collected; return whether it is the first, or a change.

    `count` is called only then. Raises ProvenanceError if the record is damaged, and OSError if it cannot be written;
    what the file contains is never replaced.
    """
    contents = contents_of(study)
    sha256 = study_hash(contents)

    def is_new(record: Provenance) -> bool:
        return not record.collected or record.collected[-1].sha256 != sha256

    return is_new(read_provenance(settings, study.name)) and _append(
        settings,
        study.name,
        "collected",
        Version(now, collecting_software(), sha256, count(), contents),
        is_new,
    )


def record_preregistration(settings: Settings, study: StudySpec, now: datetime, held: Held) -> None:
    """Record the specification of a preregistration that was written; errors as in `record_collection`."""
    contents = contents_of(study)
    registered = Version(now, collecting_software(), study_hash(contents), held, contents)
    _append(settings, study.name, "preregistered", registered, lambda _: True)


def _append(settings: Settings, study: str, kind: str, recorded: Version, is_new: Callable[[Provenance], bool]) -> bool:
    path = provenance_path(settings, study)
    private_folder(path.parent)
    cleaner = Cleaner(read_withdrawn(settings.state))
    with folder_lock(path.parent):
        record = read_provenance(settings, study)
        if not is_new(record):
            return False
        old: dict[str, Any] = {"study": study, "collected": [], "preregistered": []}
        if path.exists():
            old = json.loads(path.read_bytes())
        contents = _clean(recorded.contents, cleaner)
        entry: dict[str, Any] = {
            "at": recorded.at.astimezone(UTC).isoformat(),
            "software": recorded.software,
            "sha256": recorded.sha256,
            "days_held": recorded.held.days,
            "units_held": recorded.held.units,
        }
        if kind == "collected" and record.collected:
            changed = changed_keys(record.collected[-1].contents, contents)
            entry["changed"] = {key: {"old": before, "new": after} for key, (before, after) in changed.items()}
        else:
            entry["contents"] = contents
        old[kind].append(entry)
        write_private(path, json.dumps(old, ensure_ascii=False, indent=1).encode())
        return True


def _clean(value: Any, cleaner: Cleaner) -> Any:
    """Return a value without withdrawn accounts and ids, which a keyword may name."""
    if isinstance(value, str):
        return cleaner.message(value, words=False)
    if isinstance(value, Mapping):
        return {name: _clean(one, cleaner) for name, one in value.items()}
    return [_clean(one, cleaner) for one in value] if isinstance(value, list) else value


def read_provenance(settings: Settings, study: str) -> Provenance:
    """Return the record of a study; an empty one if there is none. Raises ProvenanceError if it is damaged."""
    path = provenance_path(settings, study)
    try:
        value = json.loads(path.read_bytes())
        collected: list[Version] = []
        for entry in value["collected"]:
            contents = dict(entry["contents"]) if not collected else dict(collected[-1].contents)
            for key, both in entry["changed"].items() if collected else ():
                if both["new"] is None:
                    contents.pop(key, None)
                else:
                    contents[key] = both["new"]
            collected.append(_version(entry, contents))
        preregistered = [_version(entry, dict(entry["contents"])) for entry in value["preregistered"]]
    except (FileNotFoundError, NotADirectoryError):
        return Provenance()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ProvenanceError(
            f"The record {path} of the study {study} cannot be read ({type(error).__name__}), so it is unknown whether "
            "the study file was changed after the first collection. Collection continues, and the file was not "
            "changed. Restore it from a backup."
        ) from None
    return Provenance(tuple(collected), tuple(preregistered))


def _version(entry: Mapping[str, Any], contents: Contents) -> Version:
    at = datetime.fromisoformat(entry["at"])
    held = Held(int(entry["days_held"]), int(entry["units_held"]))
    return Version(at.astimezone(UTC), str(entry["software"]), str(entry["sha256"]), held, contents)


def changed_keys(old: Contents, new: Contents) -> dict[str, tuple[Any, Any]]:
    """Return the keys in which two specifications differ, with both values; None for a key at its default."""
    keys = sorted({*old, *new})
    return {key: (old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)}


def changed_values(old: Contents, new: Contents) -> str:
    """Return the differences of two specifications as text, such as `end: 2026-02-01 -> 2026-03-01`."""
    changed = changed_keys(old, new)
    return "; ".join(f"{key}: {_shown(before)} -> {_shown(after)}" for key, (before, after) in changed.items())


def _shown(value: Any) -> str:
    if value is None:
        return "default"
    if isinstance(value, Mapping) and set(value) == {"values", "sha256"}:
        return f"{value['values']:,} accounts (SHA-256 {str(value['sha256'])[:8]})"
    text = one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return text if len(text) <= _MAX_VALUE else f"{text[:_MAX_VALUE]}…"
