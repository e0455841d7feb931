"""Pseudonymous studies: which settings of a study file they exclude, and the accounts of a study as pseudonyms.

`pseudonymize` gives a study pseudonyms in place of the handles of its query and its panel, so everything that is made
of a study names only pseudonyms. The handles stay in the study file and in `StudySpec.pseudonyms`, for requests. Not
here: responses (see tiktok/pseudonyms.py), the key (see storage/pseudonym_keys.py).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from research_assets.fields import ENTITIES
from research_assets.settings import Settings
from research_assets.storage.pseudonym_keys import (
    PseudonymKeyError,
    collection_key,
    pseudonymous_studies,
    require_same_key,
)
from research_assets.study.left_out import query_names
from research_assets.study.spec import QueryGroups, StudySpec
from research_assets.tiktok.pseudonyms import DROPPED, TREATMENTS, Pseudonyms, Treatment

_QUOTED = re.compile(r"`[^`]*`|'[^']*'|\"[^\"]*\"|\[[^\]]*\]")


def pseudonymous_issues(
    who: str, fields: Mapping[str, Any], query: QueryGroups
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield the keys of a pseudonymous study that contradict it, each with a message.

    `who` is the rule of its users, `fields` the requested fields by entity, `query` the query in the API's form.
    """
    if who in ("authors", "top"):
        reason = f"{who} needs the handles of authors, of which a pseudonymous study stores only pseudonyms"
        yield ("users",), f"{reason}. Write `users: none`, or `users: panel` with the accounts in the panel"
    for entity, names in fields.items():
        if dropped := sorted(DROPPED.intersection(names)):
            reason = f"a pseudonymous study does not store {', '.join(dropped)}"
            yield ("fields", entity), f"{reason}. Remove from the list"

    for group, conditions in query.items():
        for index, condition in enumerate(conditions):
            if condition["field_name"] == "keyword" and any("@" in value for value in condition["field_values"]):
                reason = "a keyword with @ names an account, and keywords are stored as they are"
                yield ("query", group, index), f"{reason}. Use a condition on username, or another keyword"


def names_accounts(attributes: Mapping[str, Any], path: Sequence[str | int]) -> bool:
    """Return whether a key of a study file, given by its path, contains accounts: the panel, or values of usernames."""
    if path[:1] == ("panel",):
        return True
    value: Any = attributes
    for key in path[:3] if path[:1] == ("query",) else ():
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return False
    return isinstance(value, Mapping) and value is not attributes and value.get("field") == "username"


def hide_values(message: str) -> str:
    """Return a message about a value without the texts that it quotes, because logs may keep the message."""
    return _QUOTED.sub("[not shown]", message)


def stored_fields(fields: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Return the requested fields by entity without those that a pseudonymous study does not store."""
    narrowed = dict(fields)
    for name, entity in ENTITIES.items():
        if DROPPED.intersection(entity.requested):
            narrowed[name] = tuple(one for one in fields.get(name, entity.requested) if one not in DROPPED)
    return narrowed


def pseudonymize(study: StudySpec, settings: Settings) -> StudySpec:
    """Return a pseudonymous study with pseudonyms in place of handles; any other study as it is.

    Raises PseudonymKeyError if the key is missing or invalid, or if the study's data was collected with another key,
    or with handles.
    """
    if not study.pseudonymous:
        require_same_key(settings, study.name, None)
        return study
    pseudonyms = Pseudonyms(collection_key(settings), (*study.panel, *query_names(study.query)))
    require_same_key(settings, study.name, pseudonyms.fingerprint)
    return replace(
        study,
        query=pseudonyms.query(study.query),
        panel=tuple(map(pseudonyms.of, study.panel)),
        pseudonyms=pseudonyms,
    )


def page_sources(settings: Settings, study: str, entity: str) -> Callable[[str], bool]:
    """Return a function that says whether a study may copy pages of an entity from the study of a name.

    Both store handles, or both have one key. Pages with texts are not copied by a pseudonymous study: it replaces the
    accounts that it lists also in texts, which no other study does.
    """
    keys = pseudonymous_studies(settings)
    own = keys.get(study)
    has_texts = any(TREATMENTS.get(field.name) is Treatment.TEXT for field in ENTITIES[entity].fields)
    may_copy = own is None or not has_texts
    return lambda other: other != study and may_copy and keys.get(other) == own


def require_pseudonyms(study: StudySpec) -> None:
    """Raise PseudonymKeyError if a study is pseudonymous but still names handles."""
    if study.pseudonymous and study.pseudonyms is None:
        raise PseudonymKeyError(
            f"The study {study.name} is pseudonymous, but was loaded without its key. No request was sent."
        )
