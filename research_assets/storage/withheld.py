"""Removal of withdrawn items from the events of a capture: from answers on their way in, and from stored ones.

A withdrawn record becomes `null` in its list, so that the positions of the other records stay what they were. The other
records keep every byte, unless they mention a withdrawn account or item. What goes, by entity:

- videos and lists of videos: a withdrawn video, and every video of a withdrawn account;
- comments: a withdrawn comment with its replies, and the comments of a withdrawn video;
- playlists: withdrawn videos from its list, and the playlist if all videos on the page are withdrawn;
- profiles, followers, following: those of a withdrawn account, in both directions;
- of an account whose profile is withdrawn (see withdrawals.py): the same, and its lists of likes, reposts and pins, but
  nothing else: neither its videos nor mentions;
- in other records: `@handle` in texts and links (also `%40handle`) becomes `[withdrawn]`, entries of lists of mentions
  go, and ids of withdrawn items in texts become `[withdrawn]`. A handle without `@` in prose remains, because it may be
  a word; a pseudonym (see tiktok/pseudonyms.py) is none and becomes `[withdrawn]` as well.

Not here: what is withdrawn (see withdrawals.py), which files are rewritten (see compliance/).
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from research_assets.fields import ENTITIES_OF_ACCOUNTS
from research_assets.storage.withdrawals import Withdrawn
from research_assets.tiktok.endpoints import BY_ENTITY, Endpoint
from research_assets.tiktok.pseudonyms import PATTERN, PREFIX

REMOVED = "[withdrawn]"
"""Text in place of a mention, a name or an id in a text."""

_MENTION = re.compile(r"(?:@|%40)([\w.]+)")
ID_DIGITS = 15
"""Least number of digits of an id in a text. A number of fewer digits is none."""

_ID = re.compile(rf"(?<!\d)\d{{{ID_DIGITS},20}}(?!\d)")
_PSEUDONYM = re.compile(rf"(?<!\w){PATTERN}(?!\w)")
_WORD = re.compile(r"[\w.]+")
_ID_LISTS = frozenset({"seen", "returned", "absent", "unanswered"})
"""Lists of ids (or handles) in events, from which withdrawn ones are removed."""

_RELATIONS = frozenset({"followers", "following"})
"""Entities whose records are accounts."""

_POSITIONS = frozenset({"highest_id", "lowest_id"})
"""Ids that mark a position of a search. A withdrawn one becomes the highest id of its second, which keeps the order."""

_BATCH_UNIT = re.compile(r"(?<= for )(\S+)(?=$| and \d+ more$)")
"""The account in the name of a search window (see units/windows.py)."""

_MAX_SECONDS = 2**33


class _Unreadable(Exception):
    """The text of an answer is not the JSON that it was when it was stored."""


@dataclass(frozen=True, slots=True)
class Cleaner:
    """Removal of the withdrawn items from texts, records and events of one entity."""

    withdrawn: Withdrawn

    def text(self, text: str) -> str:
        """Return a text without mentions of withdrawn accounts, pseudonyms of them, and ids of withdrawn items."""
        if "@" in text or "%40" in text:
            text = _MENTION.sub(self._mention, text)
        if PREFIX in text:
            text = _PSEUDONYM.sub(lambda found: REMOVED if self.withdrawn.has_account(found[0]) else found[0], text)
        return _ID.sub(lambda found: REMOVED if self.is_id(found[0]) else found[0], text)

    def message(self, text: str, *, words: bool = True) -> str:
        """Return a message of the project or the API, also without handles that have no `@`.

        Without `words`, a handle of letters alone is kept, because it may be a word of a format.
        """
        text = self.text(text)
        if not self.withdrawn.accounts:
            return text
        return _WORD.sub(lambda found: self._word(found[0]) if words or not found[0].isalpha() else found[0], text)

    def is_id(self, value: object) -> bool:
        """Return whether a value is the id of a withdrawn video or comment, as a number or as text."""
        if isinstance(value, str):
            if not (value.isascii() and value.isdigit()) or len(value) > 20:
                return False
            value = int(value)
        if type(value) is not int:
            return False
        return value in self.withdrawn.videos or value in self.withdrawn.comments

    def is_item(self, value: object) -> bool:
        """Return whether a value is an id of a withdrawn item or the handle of a withdrawn account."""
        return self.is_id(value) or self.withdrawn.has_account(value)

    def condition(self, condition: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a condition of a query without withdrawn accounts and videos; the same object if it names none."""
        values = condition["field_values"]
        if condition["field_name"] not in ("username", "video_id") or isinstance(values, str):
            return condition
        kept = [one for one in values if not self.is_item(one)]
        return condition if len(kept) == len(values) else {**condition, "field_values": kept}

    def _mention(self, found: re.Match[str]) -> str:
        name = found[1].rstrip(".")
        return REMOVED + found[1][len(name) :] if self.withdrawn.has_account(name) else found[0]

    def _word(self, word: str) -> str:
        name = word.strip(".")
        return word.replace(name, REMOVED) if name and self.withdrawn.has_account(name) else word

    def is_withdrawn_record(self, entity: str, record: Any) -> bool:
        """Return whether a record of an entity goes as a whole."""
        if not isinstance(record, dict):
            return False
        if self.withdrawn.has_account(record.get("username")):
            return True
        if entity in ENTITIES_OF_ACCOUNTS and self.withdrawn.has_profile(record.get("asked_username")):
            return True
        if entity in _RELATIONS and self.withdrawn.has_profile(record.get("username")):
            return True
        if entity == "playlists":
            # The API names no owner. A playlist is of one creator, so its name may identify the one who withdrew.
            videos = record.get("playlist_video_ids")
            return isinstance(videos, list) and bool(videos) and all(map(self.is_id, videos))
        if entity == "comments":
            return any(self.is_id(record.get(name)) for name in ("id", "video_id", "parent_comment_id"))
        return any(self.is_id(record.get(name)) for name in ("id", "video_id"))

    def value(self, value: Any, name: str = "") -> Any:
        """Return a value of a record without mentions; the same object if nothing was removed."""
        if isinstance(value, str):
            text = self.text(value)
            return text if text != value else value
        if isinstance(value, dict):
            members = {key: self.value(one, key) for key, one in value.items()}
            return members if any(members[key] is not one for key, one in value.items()) else value
        if isinstance(value, list):
            entries = [
                self.value(one)
                for one in value
                if not (
                    (name == "video_mention_list" and isinstance(one, str) and self.withdrawn.has_account(one))
                    or (name == "playlist_video_ids" and self.is_id(one))
                )
            ]
            unchanged = len(entries) == len(value) and all(map(lambda a, b: a is b, entries, value))
            return value if unchanged else entries
        return value


def withhold(
    entity: str, event: Mapping[str, Any], answer: bytes | None, withdrawn: Withdrawn
) -> tuple[Mapping[str, Any], bytes | None]:
    """Return an event and its answer without withdrawn items; the same objects if there are none."""
    cleaner = Cleaner(withdrawn)
    removed: dict[int, Any] = {}
    if answer is not None:
        answer, removed = _clean_answer(cleaner, entity, answer)
    facts = {key: _fact(cleaner, entity, key, value) for key, value in event.items()}
    if removed:
        _count_removed(facts, removed)
    return (facts if any(facts[key] is not value for key, value in event.items()) else event), answer


def is_withdrawn_unit(entity: str, event: Mapping[str, Any], withdrawn: Withdrawn) -> bool:
    """Return whether the unit of an event is a withdrawn item itself, so that all of the event goes.

    The unit of a batch of accounts goes if all of its accounts are withdrawn.
    """
    unit = event.get("unit")
    if unit is None:
        return False
    cleaner = Cleaner(withdrawn)
    if entity == "videos":
        kind = event.get("unit_kind")
        if kind in ("account", "rename"):
            return all(withdrawn.has_account(name) for name in str(unit).split(","))
        return kind == "canary" and cleaner.is_id(unit)
    if entity in ENTITIES_OF_ACCOUNTS and withdrawn.has_profile(unit):
        return True
    context = event.get("context") or {}
    return cleaner.is_item(unit) or any(cleaner.is_item(value) for value in context.values())


def records_of(entity: str, answer: Any) -> list[dict[str, Any]]:
    """Return the records in a parsed answer that are objects."""
    data = answer.get("data") if isinstance(answer, dict) else None
    return [one for one in _records(data, BY_ENTITY[entity])[1] if isinstance(one, dict)]


def _fact(cleaner: Cleaner, entity: str, name: str, value: Any) -> Any:
    """Return a member of an event, or of a structure in it, without withdrawn items."""
    changed: Any = value
    if name in _POSITIONS and cleaner.is_id(value):
        return value | 0xFFFFFFFF
    if isinstance(value, str):
        if name in ("reason", "message", "gap_reason", "distrust_reason"):
            changed = cleaner.message(value)
        elif name == "unit":
            changed = unit_text(cleaner, entity, value)
        elif name == "text":
            changed = REMOVED if cleaner.is_item(value) else cleaner.text(value)
        return value if changed == value else changed
    if isinstance(value, list | tuple):
        if name in _ID_LISTS or name == "usernames":
            has_profile = cleaner.withdrawn.has_profile
            changed = [
                one for one in value if not (cleaner.is_item(one) or (entity in _RELATIONS and has_profile(one)))
            ]
            return value if len(changed) == len(value) else changed
        changed = [_fact(cleaner, entity, "", one) for one in value]
        return value if all(map(lambda a, b: a is b, changed, value)) else changed
    if isinstance(value, Mapping):
        if value.get("field_name") in ("username", "video_id") and "field_values" in value:
            return cleaner.condition(value)
        members = {
            key: _fact(cleaner, entity, key, one)
            for key, one in value.items()
            if not (name == "reply_counts" and cleaner.is_id(key))
        }
        same = len(members) == len(value) and all(members[key] is one for key, one in value.items())
        return value if same else members
    return value


def unit_text(cleaner: Cleaner, entity: str, unit: str) -> str:
    """Return the name of a unit without withdrawn accounts and ids, `[withdrawn]` if nothing else is in it."""
    if cleaner.is_item(unit) and (entity != "videos" or cleaner.is_id(unit)):
        return REMOVED
    if entity in ENTITIES_OF_ACCOUNTS and cleaner.withdrawn.has_profile(unit):
        return REMOVED
    if entity != "videos":
        return cleaner.text(unit)
    names = unit.split(",")
    kept = [name for name in names if not cleaner.withdrawn.has_account(name)]
    if len(kept) < len(names):
        return ",".join(kept) or REMOVED
    return cleaner.text(_BATCH_UNIT.sub(lambda found: REMOVED if cleaner.is_item(found[1]) else found[1], unit))


def _count_removed(facts: dict[str, Any], removed: Mapping[int, Any]) -> None:
    """Correct the counts and the rejections of a page from which the records at some positions were removed."""
    rejected = facts.get("rejected") or ()
    whole = {one["position"] for one in rejected if one["field"] is None}
    usable = {position: record for position, record in removed.items() if position not in whole}
    if rejected:
        facts["rejected"] = [one for one in rejected if one["position"] not in removed]
    if isinstance(facts.get("rows"), int):
        facts["rows"] = max(0, facts["rows"] - len(usable))
    if "kept" in facts and isinstance(facts["kept"], Mapping):
        kept = dict(facts["kept"])
        for record in usable.values():
            day = _day(record)
            if kept.get(day):
                kept[day] -= 1
        facts["kept"] = {day: count for day, count in kept.items() if count}


def _day(video: Mapping[str, Any]) -> str | None:
    created = video.get("create_time")
    if type(created) is not int or not 0 <= created < _MAX_SECONDS:
        try:
            created = int(video.get("id") or video.get("video_id") or 0) >> 32
        except (TypeError, ValueError):
            return None
    try:
        return datetime.fromtimestamp(created, UTC).date().isoformat()
    except (OverflowError, OSError, ValueError):
        return None


def _clean_answer(cleaner: Cleaner, entity: str, answer: bytes) -> tuple[bytes, dict[int, Any]]:
    """Return an answer without withdrawn items, and the removed records by position."""
    try:
        body = orjson.loads(answer)
    except ValueError:
        text = cleaner.message(answer.decode("utf-8", "replace"))
        return (answer if text == answer.decode("utf-8", "replace") else orjson.dumps(text)), {}
    endpoint = BY_ENTITY[entity]
    data = body.get("data") if isinstance(body, dict) else None
    key, records = _records(data, endpoint)
    removed = {at: one for at, one in enumerate(records) if cleaner.is_withdrawn_record(entity, one)}
    changed = {at for at, one in enumerate(records) if at not in removed and cleaner.value(one) is not one}
    if removed or changed:
        answer = _edit(cleaner, answer.decode(), key, removed.keys(), changed).encode()
    # Anything outside of the records, such as the message of an error.
    rest = {k: v for k, v in body.items() if k != "data"} if isinstance(body, dict) else body
    if cleaner.value(rest) is not rest:
        answer = json.dumps(cleaner.value(json.loads(answer)), ensure_ascii=False, separators=(",", ":")).encode()
    return answer, removed


def _records(data: Any, endpoint: Endpoint) -> tuple[str, list[Any]]:
    """Return the key of the list of records in `data`, and the records; of a flat endpoint no key and its data."""
    if not isinstance(data, dict):
        return "", []
    if endpoint.flat:
        return "", [data]
    key = next((key for key in endpoint.payload_keys if data.get(key) is not None), "")
    records = data.get(key) if key else None
    return (key, records) if isinstance(records, list) else ("", [])


def _edit(cleaner: Cleaner, text: str, key: str, removed: Collection[int], changed: Collection[int]) -> str:
    """Return the text of an answer with `null` for removed records, and new texts for changed ones."""
    spans = [
        _member(text, _member(text, (0, len(text)), "data"), key) if key else _member(text, (0, len(text)), "data")
    ]
    if key:
        spans = list(_elements(text, spans[0]))
    parts, at = [], 0
    for position, (start, end) in enumerate(spans):
        if position in removed:
            # The data of a flat endpoint stays an object.
            replacement = "null" if key else "{}"
        elif position in changed:
            record = cleaner.value(json.loads(text[start:end]))
            replacement = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
        else:
            continue
        parts += [text[at:start], replacement]
        at = end
    return "".join([*parts, text[at:]])


_DECODER = json.JSONDecoder()
_SPACE = " \t\n\r"


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at


def _member(text: str, span: tuple[int, int], name: str) -> tuple[int, int]:
    """Return the span of the value of a member of the object in a span; the last one, as readers of JSON do."""
    found: tuple[int, int] | None = None
    at = _skip(text, span[0])
    if text[at] != "{":
        raise _Unreadable
    at = _skip(text, at + 1)
    while text[at] != "}":
        key, at = _DECODER.raw_decode(text, at)
        start = _skip(text, _skip(text, at) + 1)
        _, end = _DECODER.raw_decode(text, start)
        if key == name:
            found = start, end
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    if found is None:
        raise _Unreadable
    return found


def _elements(text: str, span: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Yield the spans of the elements of the list in a span."""
    at = _skip(text, span[0] + 1)
    while text[at] != "]":
        _, end = _DECODER.raw_decode(text, at)
        yield at, end
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
