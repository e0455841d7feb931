"""Pseudonyms in place of the accounts in requests and responses, for studies that store no handle.

A `Pseudonyms` is between the client and its callers: a caller names an account by its pseudonym, the request is sent
with the handle, and the response is changed before anything decodes, stores or logs it. So no handle gets past the
client. A pseudonym is `p_` and 26 characters: the first 128 bits of the HMAC-SHA256 of the folded handle, in base32. No
handle of TikTok has more than 24 characters.

`TREATMENTS` says what happens to each field of a record. A field that is not in it, and everything that the API does
not document, is stored as null. Not here: the key file (see storage/pseudonym_keys.py), identifiers in free texts (see
identifiers.py), pseudonyms of exports (see export/pseudonyms.py).
"""

import hmac
import json
import re
from base64 import b32encode
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any, NoReturn

import orjson

from research_assets.fields import ENTITIES, Field
from research_assets.tiktok.endpoints import Endpoint
from research_assets.tiktok.identifiers import replace_identifiers
from research_assets.tiktok.jsonline import JsonLine
from research_assets.tiktok.names import fold_handle
from research_assets.tiktok.requests import Request

PREFIX = "p_"
PATTERN = "p_[a-z2-7]{26}"
"""Form of a pseudonym, as a regular expression."""

REMOVED = "[removed]"
"""Text in place of an element or a value without a known structure, which may contain a handle anywhere."""

_BYTES = 16
_PLAIN_TEXT = re.compile(r"[\s\d.,:+-]*|true|false|null", re.IGNORECASE)
_WORD = re.compile(r"[\w.]+")
_NAME_LIKE = re.compile(r"\w[\w.]*[\d_.][\w.]*|[\d_][\w.]+")
"""Words that `replace_identifiers` looks for without `@`: those that are no words of prose."""

_MENTION = re.compile(r"@([\w.]*\w)")
_PSEUDONYM = re.compile(PATTERN)


class Treatment(StrEnum):
    """Treatment of a field before it is stored. The value is its description."""

    KEEP = "stored as delivered"
    HANDLE = "replaced by the pseudonym"
    HANDLES = "each entry replaced by the pseudonym of its text"
    TEXT = (
        "stored; mentions replaced by pseudonyms; links, addresses, telephone numbers, long numbers and names of "
        "accounts replaced by placeholders"
    )
    DROP = "not requested and not stored"


_T = Treatment

TREATMENTS: Mapping[str, Treatment] = {
    name: treatment
    for treatment, names in {
        _T.KEEP: "id create_time region_code share_count view_count like_count comment_count music_id effect_ids "
        "playlist_id is_stem_verified favorites_count video_duration video_id reply_count parent_comment_id "
        "is_verified follower_count following_count likes_count video_count playlist_item_total playlist_last_updated "
        "playlist_video_ids",
        _T.HANDLE: "username",
        _T.HANDLES: "video_mention_list",
        _T.TEXT: "video_description voice_to_text text hashtag_names hashtag_info_list sticker_info_list "
        "effect_info_list video_label video_tag playlist_name",
        _T.DROP: "display_name bio_description bio_url avatar_url",
    }.items()
    for name in names.split()
}
"""Treatment of each field of `fields.ENTITIES`, by its name, which means the same in all entities."""

DROPPED = frozenset(name for name, treatment in TREATMENTS.items() if treatment is Treatment.DROP)
"""Fields that a pseudonymous study neither requests nor stores: free descriptions of a person."""

_KEPT_MEMBERS = re.compile(r".*_(?:id|url|URI)|id")
"""Members of structures that are no text: ids, and addresses of pictures of effects."""

_MEMBERS = frozenset(
    name
    for entity in ENTITIES.values()
    for field in entity.fields
    for name in re.findall(r'[(,] ?"?(\w+)"? ', field.type)
)
"""Keys of the structures of records."""

_FIELDS: Mapping[str, Mapping[str, Field]] = {
    entity.name: {name: one for one in entity.fields for name in (one.name, *one.aliases)}
    for entity in ENTITIES.values()
}
"""Fields of each entity, also by their aliases."""

_ENVELOPE = frozenset({"data", "error"})
_ERROR = frozenset({"code", "log_id", "http_status_code"})
_PAGING = frozenset({"cursor", "has_more", "search_id"})


class UnknownPseudonym(ValueError):
    """A request names an account by a pseudonym whose handle the study does not list."""


def keyed_digest(key: bytes, kind: str, value: str) -> bytes:
    """Return the HMAC-SHA256 of a value. Values of different kinds have unrelated digests."""
    return hmac.digest(key, f"{kind}\0{value}".encode("utf-8", "surrogatepass"), "sha256")


def fingerprint(key: bytes) -> str:
    """Return 16 hexadecimal digits that identify a key and reveal nothing about it."""
    return keyed_digest(key, "fingerprint", "").hex()[:16]


def is_pseudonym(text: str) -> bool:
    """Return whether a text has the form of a pseudonym."""
    return _PSEUDONYM.fullmatch(text) is not None


def require_handles(request: Request) -> None:
    """Raise UnknownPseudonym if a request without a key names an account by a pseudonym.

    The API would answer that there is no such account, which could be taken for its deletion.
    """
    body = request.body
    conditions = [one for group in body.get("query", {}).values() for one in group if one["field_name"] == "username"]
    for name in [body.get("username", ""), *(name for one in conditions for name in one["field_values"])]:
        if is_pseudonym(name):
            raise UnknownPseudonym(
                f"The account {name} cannot be requested, because its handle is known only to the study that lists it, "
                "with its key. No request was sent."
            )


class Pseudonyms:
    """The pseudonyms of one key, and the handles behind those of one study. It has no readable form of either.

    `withdrawn` are the pseudonyms of withdrawn accounts that were found in responses (see `watching`).
    """

    def __init__(
        self, key: bytes, handles: Iterable[str] = (), *, is_withdrawn: Callable[[str], bool] = lambda _: False
    ) -> None:
        """`handles` are those that requests may name. `is_withdrawn` receives every handle of a response."""
        self._key, self._is_withdrawn = key, is_withdrawn
        self.fingerprint = fingerprint(key)
        self.withdrawn: set[str] = set()
        self._handles = {self.of(handle): handle for handle in handles}
        self._listed = {fold_handle(handle) for handle in self._handles.values()}

    def __repr__(self) -> str:
        """Return the class and the number of listed accounts."""
        return f"Pseudonyms({len(self._handles)} accounts)"

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied into another process or a file, which would contain the key."""
        raise TypeError("pseudonyms cannot be serialized, because they contain their key")

    def watching(self, is_withdrawn: Callable[[str], bool]) -> "Pseudonyms":
        """Return the same pseudonyms, which add to `withdrawn` each account of a response that is withdrawn.

        The log of withdrawn accounts has hashes of handles, which no pseudonym can be compared with later.
        """
        return Pseudonyms(self._key, self._handles.values(), is_withdrawn=is_withdrawn)

    def of(self, handle: str) -> str:
        """Return the pseudonym of a handle. Case, a leading `@` and blanks around it are ignored."""
        digest = keyed_digest(self._key, "handle", fold_handle(handle))
        pseudonym = PREFIX + b32encode(digest[:_BYTES]).decode().rstrip("=").lower()
        if self._is_withdrawn(handle):
            self.withdrawn.add(pseudonym)
        return pseudonym

    def handle_of(self, pseudonym: str) -> str:
        """Return the handle of a listed account. Raises UnknownPseudonym."""
        try:
            return self._handles[pseudonym]
        except KeyError:
            raise UnknownPseudonym(
                f"The account {pseudonym} cannot be requested, because the study file no longer lists its handle. No "
                "request was sent. Add the account to the study file again."
            ) from None

    def query(self, query: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, tuple[Mapping[str, Any], ...]]:
        """Return a query with pseudonyms in place of the handles in its conditions."""
        return _with_names(query, self.of)

    def with_handles(self, request: Request) -> Request:
        """Return a request as it is sent: with handles in place of pseudonyms. Raises UnknownPseudonym."""
        body = dict(request.body)
        if "username" in body:
            body["username"] = self.handle_of(body["username"])
        if "query" in body:
            body["query"] = _with_names(body["query"], self.handle_of)
        return replace(request, body=body)

    def message(self, text: str) -> str:
        """Return a message of the API with pseudonyms in place of listed handles and of mentions."""
        text = _MENTION.sub(lambda found: f"@{self.of(found[1])}", text)
        return _WORD.sub(self._listed_word, text)

    def line(self, endpoint: Endpoint, line: JsonLine) -> JsonLine:
        """Return the body of a response without handles. Numbers keep their digits, and lists their positions."""
        body = json.loads(line.line, parse_int=_Number, parse_float=_Number)
        clean = self._body(endpoint, body) if isinstance(body, dict) else REMOVED
        changed = orjson.dumps(clean, default=_number)
        return JsonLine(orjson.loads(changed), changed, tuple(one._replace(text=REMOVED) for one in line.changed))

    def _listed_word(self, found: re.Match[str]) -> str:
        name = found[0].strip(".")
        return found[0].replace(name, self.of(name)) if name and fold_handle(name) in self._listed else found[0]

    def _body(self, endpoint: Endpoint, body: dict[str, Any]) -> dict[str, Any]:
        clean = {key: body[key] if key in _ENVELOPE else None for key in body}
        if (error := body.get("error")) is not None:
            clean["error"] = self._error(error)
        if "data" in body:
            clean["data"] = self._data(endpoint, body["data"])
        return self._keys(clean, _ENVELOPE)

    def _error(self, error: Any) -> Any:
        if not isinstance(error, dict):
            return error if isinstance(error, str) and error.isidentifier() and not self._names(error) else REMOVED
        clean = {
            key: None
            if isinstance(value, list | dict)
            else self.message(value)
            if isinstance(value, str) and key not in _ERROR
            else value
            for key, value in error.items()
        }
        return self._keys(clean, _ERROR | {"message", "msg"})

    def _data(self, endpoint: Endpoint, data: Any) -> Any:
        if not isinstance(data, dict):
            return data if data is None else REMOVED
        if endpoint.flat:
            return self._record(endpoint, data, self._names_of([data]))
        clean = {key: value if key in _PAGING else None for key, value in data.items()}
        for key in endpoint.payload_keys:
            records = data.get(key)
            if isinstance(records, list):
                names = self._names_of(records)
                clean[key] = [
                    self._record(endpoint, one, names) if isinstance(one, dict) else one if one is None else REMOVED
                    for one in records
                ]
            elif records is not None:
                clean[key] = REMOVED
        return self._keys(clean, _PAGING | set(endpoint.payload_keys))

    def _names_of(self, records: Iterable[Any]) -> frozenset[str]:
        """Return the folded handles of the records of a page, and those that the study lists."""
        named = {
            fold_handle(str(name))
            for one in records
            if isinstance(one, dict) and isinstance(name := one.get("username"), str | _Number)
        }
        return frozenset(named | self._listed)

    def _record(self, endpoint: Endpoint, record: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
        fields = _FIELDS.get(endpoint.entity or "", {})
        listed = record.get("video_mention_list")
        mentioned = [one for one in listed if isinstance(one, str)] if isinstance(listed, list) else []
        clean = {}
        for key, value in record.items():
            field = fields.get(key)
            match TREATMENTS.get(field.name) if field else None:
                case Treatment.KEEP if field:
                    clean[key] = _as_typed(value, field.type)
                case Treatment.HANDLE:
                    clean[key] = self._handle(value)
                case Treatment.HANDLES:
                    clean[key] = [self._handle(one) for one in value] if isinstance(value, list) else None
                case Treatment.TEXT:
                    clean[key] = self._texts(value, key, names, mentioned)
                case _:
                    # The key of an unknown field is reported; its value may be anything.
                    clean[key] = value if endpoint.flat and key in _PAGING else None
        return self._keys(clean, fields if fields.keys() >= clean.keys() else _PAGING | fields.keys())

    def _handle(self, value: Any) -> Any:
        """Return the pseudonym of a handle. What is none, such as a list, becomes an empty value of its type."""
        if isinstance(value, str | _Number):
            text = str(value)
            return self.of(text) if text.strip() else text
        return type(value)() if isinstance(value, list | dict) else value

    def _texts(self, value: Any, name: str, names: frozenset[str], mentioned: Sequence[str]) -> Any:
        """Return a value with all its texts free of identifiers. `name` is the key that contains it."""
        if isinstance(value, str):
            # A word of letters is not replaced, because it may be one of prose.
            if value.isalpha() or _KEPT_MEMBERS.fullmatch(name):
                return value
            words = {one.strip(".") for one in _NAME_LIKE.findall(value)}
            known = [word for word in words if fold_handle(word) in names]
            return replace_identifiers(value, self.of, [*known, *(one for one in mentioned if one in value)])
        if isinstance(value, list):
            return [self._texts(one, name, names, mentioned) for one in value]
        if isinstance(value, dict):
            return self._keys(
                {
                    key: self._handle(one) if key == "username" else self._texts(one, key, names, mentioned)
                    for key, one in value.items()
                },
                _MEMBERS,
            )
        return value

    def _names(self, text: str) -> bool:
        """Return whether a text names a listed account."""
        return self.message(text) != text

    def _keys(self, members: dict[str, Any], known: Collection[str]) -> dict[str, Any]:
        """Return an object whose keys name no account, apart from the `known` ones."""
        return {key if key in known else self.message(key): value for key, value in members.items()}


def _as_typed(value: Any, kind: str) -> Any:
    """Return a value of a field that is stored as delivered; `[removed]` if it is not of the type of the field."""
    if isinstance(value, list) and kind.endswith("[]"):
        return [_as_typed(one, kind.removesuffix("[]")) for one in value]
    if isinstance(value, list | dict) or (
        isinstance(value, str) and kind != "VARCHAR" and not _PLAIN_TEXT.fullmatch(value)
    ):
        return REMOVED
    return value


class _Number:
    """A number of a JSON text, which keeps its digits."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text


def _number(value: object) -> orjson.Fragment:
    return orjson.Fragment(str(value).encode())


def _with_names(
    query: Mapping[str, Sequence[Mapping[str, Any]]], change: Callable[[str], str]
) -> dict[str, tuple[Mapping[str, Any], ...]]:
    return {
        group: tuple(
            {**one, "field_values": [change(value) for value in one["field_values"]]}
            if one["field_name"] == "username"
            else one
            for one in conditions
        )
        for group, conditions in query.items()
    }
