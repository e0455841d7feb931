"""The keys of a study file with their types and bounds, and the rules between them.

Pydantic checks the keys; Dagster's JSON schema for `dg check yaml` comes from the same classes. The functions check the
rules that need several keys, the current day or the file system. They return each issue as a path of keys and a
message. Not here: YAML and the line of an issue (see loader.py); the parts of the schema that come from the API (see
json_schema.py).
"""

import operator
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from research_assets.clock import parse_iso_day
from research_assets.fields import ENTITIES
from research_assets.study.day_sample import DaySample, Stratifier
from research_assets.study.json_schema import fields_schema, query_schema
from research_assets.study.panel import PanelError, parse_username, read_panel
from research_assets.study.pseudonymous import pseudonymous_issues, stored_fields
from research_assets.study.spec import CommentRule, QueryGroups, StudySpec, UserRule
from research_assets.text import FILE_NAME_RULE, MAX_NAME_BYTES, is_file_name
from research_assets.tiktok.conditions import CONDITIONS
from research_assets.tiktok.query import QueryError, parse_query

KeyPath = tuple[str | int, ...]
"""Keys and indices of a value in the file, below `attributes`."""

RESERVED_NAMES = frozenset({"staging", "intermediate", "marts", "raw", "warehouse"})
"""Names whose asset keys could be confused with those of the warehouse."""


OWNER_PATTERN = r"^(team:[A-Za-z0-9_]+|[^@\s]+@[^@\s]+\.[^@\s]+)$"
"""Owners that Dagster accepts: an e-mail address, or `team:` and a name of letters, digits and underscores."""


def _parse_day(value: object) -> date:
    if isinstance(value, str) and (day := parse_iso_day(value)):
        return day
    raise ValueError(f"must be a date such as 2026-02-01, not {value!r}")


UtcDay = Annotated[
    date,
    BeforeValidator(_parse_day),
    WithJsonSchema({"type": "string", "format": "date", "pattern": r"^\d{4}-\d\d-\d\d$"}),
]


def _as_text(value: object) -> object:
    """Return a number as text. The loader keeps the text of the file; Dagster's own reader of the file does not."""
    return str(value) if isinstance(value, int | float) else value


Handle = Annotated[
    str, BeforeValidator(_as_text), WithJsonSchema({"type": ["string", "number", "boolean"]}, mode="validation")
]


class StrictModel(BaseModel):
    """A mapping of the file. Unknown keys are errors, and no value is converted silently."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ShorthandModel(StrictModel):
    """A mapping with a short form of one word: `users: panel` for `users: {who: panel}`."""

    shorthand_key: ClassVar[str]

    @model_validator(mode="before")
    @classmethod
    def _expand_shorthand(cls, value: object) -> object:
        return {cls.shorthand_key: value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler.resolve_ref_schema(handler(core))
        words = schema["properties"][cls.shorthand_key]["enum"]
        return {"if": {"type": "string"}, "then": {"enum": words}, "else": schema}


class CommentsConfig(ShorthandModel):
    """Rule for whose comments are collected."""

    shorthand_key: ClassVar[str] = "videos"
    videos: Literal["all", "top", "sample", "none"] = Field("all", description="all, or top, sample, none")
    n: int | None = Field(None, ge=1, description="top: number of videos of a day, those with most comments")
    fraction: float | None = Field(None, gt=0, le=1, description="sample: share of the videos of a day")
    seed: int = Field(0, ge=0, description="sample: another seed selects other videos")
    replies: Literal["all", "none"] = Field("all", description="Replies of comments, one request or more each")


class DaysConfig(StrictModel):
    """Sample of the study's days."""

    sample: float = Field(gt=0, le=1, description="Share of the days of each stratum, at least one day")
    by: list[Stratifier] = Field(
        ["month", "weekday"], description="Strata: month or quarter, and weekday; without a period those of a year"
    )
    seed: int = Field(0, ge=0, description="Another seed draws other days")


class UsersConfig(ShorthandModel):
    """Rule for whose profiles are observed."""

    shorthand_key: ClassVar[str] = "who"
    who: Literal["authors", "top", "panel", "none"] = Field(
        "authors", description="authors of the videos, top, panel, or none"
    )
    n: int | None = Field(None, ge=1, description="top: number of authors, those with most videos")


class PanelConfig(StrictModel):
    """Accounts whose followers, following, likes, reposts and pins are collected."""

    usernames: list[Handle] = Field([], description="Handles, with or without @, or links to profiles")
    file: str | None = Field(None, description="csv or tsv with a column `username`, or txt with one handle per line")
    follow_renames: bool = Field(
        False, description="Observe an account that was renamed under its new handle; needs profiles (users)"
    )


class StudyFile(StrictModel):
    """The attributes of a study file. `name`, `start` and `query` are required; all others have a default."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9_]*$", max_length=MAX_NAME_BYTES, description="First part of the asset keys"
    )
    start: UtcDay = Field(description="First day, UTC")
    end: UtcDay | None = Field(None, description="Last day, UTC; without it the study continues")
    days: DaysConfig | None = Field(
        None, description="Sample of the days, such as {sample: 0.2, by: [month, weekday], seed: 7}; by default all"
    )
    settle_days: int = Field(2, ge=0, le=30, description="Age of a day in days at which it is collected")
    reobserve_days: list[Annotated[int, Field(ge=1, le=3650)]] = Field(
        default_factory=list,
        description="Ages in days at which a day is collected again; by default settle_days + count_lag_days if the "
        "study collects comments, else none; [] for none",
    )
    repeat: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the complete days that is collected twice within a day, to see what changes",
    )
    count_lag_days: int = Field(
        10, ge=0, le=60, description="Highest age in days that a count of the API has when it is returned"
    )
    query: Annotated[Any, WithJsonSchema(query_schema())] = Field(description="Groups and, or, not of conditions")
    comments: CommentsConfig = CommentsConfig()
    users: UsersConfig = UsersConfig()
    playlists: bool = Field(
        False, description="Observe the playlists of the collected videos: one request or more per playlist and period"
    )
    panel: PanelConfig = PanelConfig()
    observe: Literal["weekly", "daily"] = Field(
        "weekly", description="Period of profiles, playlists and the panel's lists"
    )
    observe_until: UtcDay | None = Field(
        None,
        description="Last UTC day on which accounts are observed; by default until the study ends",
    )
    delete_after: UtcDay | None = Field(
        None, description="Last UTC day of retention; from 14 days before, status and a check announce the deletion"
    )
    verify_by: Literal["batch", "lookup"] = Field(
        "batch",
        description="How stored videos are verified: batch compliance, or look-ups of up to 100 videos in a request",
    )
    title: str | None = Field(
        None, min_length=1, max_length=120, description="Title in reports and descriptions; by default the name"
    )
    owners: list[Annotated[str, Field(pattern=OWNER_PATTERN)]] = Field(
        [], description="Who is responsible, shown in Dagster: an address, or team:name"
    )
    quota_weight: float = Field(1.0, gt=0, le=1000, description="Weight of this study if the quota does not suffice")
    fields: Annotated[dict[str, list[str]], WithJsonSchema(fields_schema())] = Field(
        {}, description="Requested fields by entity; all fields for other entities"
    )
    pseudonymous: bool = Field(
        False,
        description="Store keyed pseudonyms instead of handles, and no names and texts of profiles; needs a key",
    )


MODEL_BY_KEY: Mapping[KeyPath, type[StrictModel]] = {
    (): StudyFile,
    ("days",): DaysConfig,
    ("comments",): CommentsConfig,
    ("users",): UsersConfig,
    ("panel",): PanelConfig,
}
"""The mappings of the file by key, for messages with the allowed keys."""


def required_fields(study: StudyFile, entity: str) -> dict[str, str]:
    """Return the fields of an entity that a study requires, each with the reason."""
    if entity == "videos":
        required = {"id": "it identifies a video", "create_time": "it assigns a video to its day"}
        if study.comments.videos != "none":
            required["comment_count"] = "it determines whose comments are collected"
        if study.users.who in {"authors", "top"}:
            required["username"] = "it determines whose profiles are collected"
        elif _names_several_accounts(study.query):
            required["username"] = "it determines which accounts of the query canary checks can search for"
        if study.playlists:
            required["playlist_id"] = "it determines which playlists are collected"
        return required
    if entity == "comments":
        required = {"id": "it identifies a comment", "create_time": "it is the time of the comment"}
        if study.comments.replies == "all":
            required["reply_count"] = "it determines which replies are collected"
        return required
    return {"id": "it identifies a video"} if "id" in ENTITIES[entity].requested else {}


def _names_several_accounts(query: object) -> bool:
    """Return whether a query, as the file has it, lists accounts. Such a query is searched in batches of accounts."""
    groups = query.values() if isinstance(query, dict) else ()
    conditions = [one for group in groups if isinstance(group, list) for one in group if isinstance(one, dict)]
    return any(one.get("field") == "username" and len(one.get("in") or ()) > 1 for one in conditions)


def _field_issues(study: StudyFile) -> Iterator[tuple[KeyPath, str]]:
    for entity, names in study.fields.items():
        path: KeyPath = ("fields", entity)
        if entity not in ENTITIES:
            yield path, f"there is no entity {entity!r}; allowed: {', '.join(ENTITIES)}"
            continue
        allowed = ENTITIES[entity].requested
        if not allowed:
            yield path, f"{entity} cannot be narrowed: the API has no choice of fields for it. Remove this line"
            continue
        if not names:
            yield path, f"is empty; name at least one field, or remove this line to request all fields of {entity}"
            continue
        for index, name in enumerate(names):
            if name not in allowed:
                yield (*path, index), f"{entity} have no field {name!r}; allowed: {', '.join(allowed)}"
        for name, reason in required_fields(study, entity).items():
            if name not in names:
                yield path, f"{name} cannot be dropped from {entity}: {reason}. Add it to the list"


def _rule_issues(study: StudyFile, today: date) -> Iterator[tuple[KeyPath, str]]:
    if study.name in RESERVED_NAMES:
        yield (
            ("name",),
            f"{study.name!r} is reserved for the warehouse; not allowed: {', '.join(sorted(RESERVED_NAMES))}",
        )
    elif not is_file_name(study.name):
        yield ("name",), f"{study.name!r} {FILE_NAME_RULE}"
    if study.start > today:
        yield ("start",), f"{study.start} is in the future; the first day must be {today} (UTC) or earlier"
    if study.end is not None and study.end < study.start:
        yield ("end",), f"{study.end} is before the start, {study.start}; the last day must be the first day or later"
    if study.observe_until is not None and study.observe_until < study.start:
        yield (
            ("observe_until",),
            f"{study.observe_until} is before the start, {study.start}; it must be the first day or later",
        )
    if study.delete_after is not None and study.delete_after < (study.end or study.start):
        yield (
            ("delete_after",),
            f"{study.delete_after} is before {study.end or study.start}; it must be the last day of the study or later",
        )
    if study.days is not None:
        if len(set(study.days.by)) != len(study.days.by) or {"month", "quarter"} <= set(study.days.by):
            yield ("days", "by"), "names month or quarter, not both, and weekday, each once"
        if study.end is not None and not _day_sample(study.days).contains_any(study.start, study.end):
            yield (
                ("days",),
                f"no day between {study.start} and {study.end} was drawn; take a larger sample, or other strata",
            )
    if study.panel.follow_renames and study.users.who == "none":
        yield (
            ("panel", "follow_renames"),
            "needs profiles, which show that an account is missing; write `users: panel`, or remove this line",
        )
    early = [age for age in study.reobserve_days if age <= study.settle_days]
    if early:
        reason = "a day is collected at that age anyway"
        yield ("reobserve_days",), f"{early} must be above settle_days, {study.settle_days}: {reason}"
    if len(set(study.reobserve_days)) != len(study.reobserve_days):
        yield ("reobserve_days",), "duplicate age; remove one"
    for mapping, mode, key, value in (
        ("comments", study.comments.videos, "n", study.comments.n),
        ("comments", study.comments.videos, "fraction", study.comments.fraction),
        ("users", study.users.who, "n", study.users.n),
    ):
        owner = "sample" if key == "fraction" else "top"
        if mode == owner and value is None:
            yield (
                (mapping,),
                f"{owner} needs {key}: {'a number above 0, at most 1' if key == 'fraction' else '1 or more'}",
            )
        if mode != owner and value is not None:
            yield (mapping, key), f"{key} is allowed with {owner} only, not with {mode}"


def _day_sample(days: DaysConfig) -> DaySample:
    return DaySample(days.sample, tuple(days.by), days.seed)


def _resolve_panel(
    study: StudyFile, folder: Path, issues: list[tuple[KeyPath, str]], notes: list[tuple[KeyPath, str]]
) -> tuple[str, ...]:
    """Return the accounts of the panel, from list and file; add errors to `issues`, spellings to `notes`."""
    names: list[str] = []
    for index, text in enumerate(study.panel.usernames):
        path: KeyPath = ("panel", "usernames", index)
        try:
            names.append(parse_username(text))
        except PanelError as error:
            issues.append((path, str(error)))
        else:
            if _is_respelt(text, names[-1]):
                notes.append((path, _spelling_note(text, names[-1])))
    if study.panel.file is not None:
        path = ("panel", "file")
        try:
            entries = read_panel(folder / study.panel.file)
        except PanelError as error:
            issues.append((path, str(error)))
        else:
            names.extend(entry.name for entry in entries)
            respelt = [entry for entry in entries if _is_respelt(entry.text, entry.name)]
            for entry in respelt[:_MAX_NOTES]:
                notes.append((path, f"{study.panel.file}:{entry.line}: {_spelling_note(entry.text, entry.name)}"))
            if len(respelt) > _MAX_NOTES:
                notes.append((path, f"{study.panel.file}: {len(respelt) - _MAX_NOTES} more accounts are read so"))
    if study.users.who == "panel" and not names:
        issues.append((("users",), "who: panel needs accounts, but there is no panel; add panel: usernames"))
    return tuple(dict.fromkeys(names))


_MAX_NOTES = 5


def _is_respelt(written: object, requested: str) -> bool:
    """Return whether a request differs from what is written by more than blanks, `#`, `@`, and the form of a code."""
    text = str(written).strip()
    return requested not in (text, text.lstrip("#@"), text.upper(), text.replace("-", ""), text.removeprefix("id_"))


def _spelling_note(written: object, requested: str) -> str:
    return f"{str(written).strip()!r} is requested as {requested!r}"


def _query_notes(value: Any) -> Iterator[tuple[KeyPath, str]]:
    """Yield a note for each value of a valid query that is not requested as it is written."""
    for group, conditions in value.items():
        for index, entry in enumerate(conditions or ()):
            field = entry["field"]
            operation, written = next((key, item) for key, item in entry.items() if key != "field")
            path: KeyPath = ("query", group, index, operation)
            for number, one in enumerate(written if operation == "in" else [written]):
                requested = CONDITIONS[field].value(one)
                if _is_respelt(one, requested):
                    yield (*path, number) if operation == "in" else path, _spelling_note(one, requested)


def parse_query_groups(value: object) -> tuple[dict[str, tuple[dict[str, Any], ...]], list[tuple[KeyPath, str]]]:
    """Return the query in the API's own form, and all issues in it, not only the first."""
    try:
        return parse_query(value), []
    except QueryError as error:
        first = (("query", *error.path), error.message)
    issues = []
    if isinstance(value, dict):
        for group, conditions in value.items():
            for index, condition in enumerate(conditions if isinstance(conditions, list) else ()):
                try:
                    parse_query({group: [condition]})
                except QueryError as error:
                    if error.path[:2] == (group, 0):
                        issues.append((("query", group, index, *error.path[2:]), error.message))
    return {}, [first, *(issue for issue in issues if issue != first)]


def _reobserve_days(study: StudyFile) -> tuple[int, ...]:
    """Return the ages of re-observation, in order.

    Without the key a study with comments re-observes each day once, at the age at which its counts are confirmed.
    """
    if "reobserve_days" in study.model_fields_set:
        return tuple(sorted(study.reobserve_days))
    needs_counts = study.comments.videos != "none" and study.count_lag_days > 0
    return (study.settle_days + study.count_lag_days,) if needs_counts else ()


def _period_issues(study: StudyFile, query: QueryGroups) -> Iterator[tuple[KeyPath, str]]:
    """Yield the conditions on `create_date` that exclude every day of the study."""
    compare = {"GT": operator.gt, "GTE": operator.ge, "LT": operator.lt, "LTE": operator.le}
    first, last = f"{study.start:%Y%m%d}", f"{study.end:%Y%m%d}" if study.end else "99991231"
    for index, condition in enumerate(query.get("and", ())):
        if condition["field_name"] == "create_date":
            days, operation = condition["field_values"], condition["operation"]
            edge = last if operation in ("GT", "GTE") else first
            matches = (
                compare[operation](edge, days[0]) if operation in compare else any(first <= d <= last for d in days)
            )
            if not matches:
                yield ("query", "and", index), "no video can match: the days are outside of the study's start and end"


def to_spec(
    study: StudyFile, folder: Path, today: date
) -> tuple[StudySpec, list[tuple[KeyPath, str]], list[tuple[KeyPath, str]]]:
    """Return the plain form of a study, its issues, and notes on values that are requested in another spelling.

    The spec is valid only if there are no issues.
    """
    query, issues = parse_query_groups(study.query)
    notes = [] if issues else list(_query_notes(study.query))
    issues += [*_rule_issues(study, today), *_field_issues(study), *_period_issues(study, query)]
    fields = {entity: tuple(dict.fromkeys(names)) for entity, names in study.fields.items()}
    if study.pseudonymous:
        issues += pseudonymous_issues(study.users.who, study.fields, query)
        if study.panel.follow_renames:
            message = "a pseudonymous study stores no handle, so no new one can be requested. Remove this line"
            issues.append((("panel", "follow_renames"), message))
        fields = stored_fields(fields)
    panel = _resolve_panel(study, folder, issues, notes)
    spec = StudySpec(
        name=study.name,
        title=" ".join((study.title or "").split()),
        start=study.start,
        end=study.end,
        day_sample=None if study.days is None else _day_sample(study.days),
        query=query,
        settle_days=study.settle_days,
        reobserve_days=_reobserve_days(study),
        repeat=study.repeat,
        count_lag_days=study.count_lag_days,
        comments=CommentRule(
            videos=study.comments.videos,
            n=study.comments.n or 0,
            fraction=study.comments.fraction or 1.0,
            seed=study.comments.seed,
            replies=study.comments.replies,
        ),
        users=UserRule(who=study.users.who, n=study.users.n or 0),
        playlists=study.playlists,
        panel=panel,
        follow_renames=study.panel.follow_renames,
        observe=study.observe,
        observe_until=study.observe_until,
        delete_after=study.delete_after,
        verify_by=study.verify_by,
        owners=tuple(dict.fromkeys(study.owners)),
        quota_weight=study.quota_weight,
        fields=fields,
        pseudonymous=study.pseudonymous,
    )
    return spec, issues, notes
