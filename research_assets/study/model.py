"""What may stand in a study file: its keys, their types and bounds, and the rules between them.

Pydantic checks the shape, and Dagster's JSON schema for `dg check yaml` comes from the same classes; the rules that
need several keys, the day or the file system are below. Where a value stands in the file is `study_file`'s business:
a mistake is told here as a path of keys and a sentence. No Dagster.
"""

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

from research_assets.fields import ENTITIES
from research_assets.study.json_schema import fields_schema, query_schema
from research_assets.study.panel import PanelError, parse_username, read_panel
from research_assets.study.spec import CommentRule, StudySpec, UserRule
from research_assets.tiktok.query import QueryError, parse_query

KeyPath = tuple[str | int, ...]
"""Keys and indices that lead to a value of the file, from `attributes` on."""

RESERVED_NAMES = frozenset({"staging", "intermediate", "marts", "raw", "warehouse"})
"""Names that would make a study's asset keys look like the warehouse's."""


def _parse_day(value: object) -> date:
    if isinstance(value, str) and len(value) == len("2026-02-01"):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise ValueError(f"must be a day of the calendar such as 2026-02-01, not {value!r}")


UtcDay = Annotated[
    date,
    BeforeValidator(_parse_day),
    WithJsonSchema({"type": "string", "format": "date", "pattern": r"^\d{4}-\d\d-\d\d$"}),
]


class StrictModel(BaseModel):
    """A mapping of the file: unknown keys are mistakes, and nothing is converted silently."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ShorthandModel(StrictModel):
    """A mapping that may be written as one word: `users: panel` for `users: {who: panel}`."""

    shorthand_key: ClassVar[str]

    @model_validator(mode="before")
    @classmethod
    def _word(cls, value: object) -> object:
        return {cls.shorthand_key: value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler.resolve_ref_schema(handler(core))
        words = schema["properties"][cls.shorthand_key]["enum"]
        return {"if": {"type": "string"}, "then": {"enum": words}, "else": schema}


class CommentsConfig(ShorthandModel):
    """Which videos' comments are collected."""

    shorthand_key: ClassVar[str] = "videos"
    videos: Literal["all", "top", "sample", "none"] = Field("all", description="all, or top, sample, none")
    n: int | None = Field(None, ge=1, description="top: how many videos of a day, those with most comments")
    fraction: float | None = Field(None, gt=0, le=1, description="sample: share of a day's videos")
    seed: int = Field(0, ge=0, description="sample: another seed draws other videos")
    replies: Literal["all", "none"] = Field("all", description="Whether replies are asked too, a request or more each")


class UsersConfig(ShorthandModel):
    """Whose profiles are observed."""

    shorthand_key: ClassVar[str] = "who"
    who: Literal["authors", "top", "panel", "none"] = Field("authors", description="authors of the videos, top, panel")
    n: int | None = Field(None, ge=1, description="top: how many authors, those with most videos")


class PanelConfig(StrictModel):
    """Accounts whose followers, following, likes, reposts and pins are asked."""

    usernames: list[str] = Field([], description="Handles, with or without @")
    file: str | None = Field(None, description="csv with a column `username`, or txt with one handle a line")


class StudyFile(StrictModel):
    """The attributes of a study file; name, start and query are needed, all else has a default."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=60, description="First part of the asset keys")
    start: UtcDay = Field(description="First day, UTC")
    end: UtcDay | None = Field(None, description="Last day, UTC; without it the study runs on")
    settle_days: int = Field(2, ge=0, le=30, description="A day is collected once it is this old")
    reobserve_days: list[Annotated[int, Field(ge=1, le=3650)]] = Field([], description="Ages at which to ask again")
    query: Annotated[Any, WithJsonSchema(query_schema())] = Field(description="Groups and, or, not of conditions")
    comments: CommentsConfig = CommentsConfig()
    users: UsersConfig = UsersConfig()
    panel: PanelConfig = PanelConfig()
    observe: Literal["weekly", "daily"] = Field("weekly", description="Period of profiles, follow lists and likes")
    quota_weight: float = Field(1.0, gt=0, le=1000, description="Weight of this study when the quota is short")
    fields: Annotated[dict[str, list[str]], WithJsonSchema(fields_schema())] = Field(
        {}, description="Fields to ask for, by entity; an entity that is not named asks for all"
    )


MODEL_BY_KEY: Mapping[KeyPath, type[StrictModel]] = {
    (): StudyFile,
    ("comments",): CommentsConfig,
    ("users",): UsersConfig,
    ("panel",): PanelConfig,
}
"""The mappings of the file, for saying which keys are allowed where."""


def required_fields(study: StudyFile, entity: str) -> dict[str, str]:
    """Fields that must not be dropped from an entity, with the reason."""
    if entity == "videos":
        needed = {"id": "it tells videos apart", "create_time": "it keeps videos in their day"}
        if study.comments.videos != "none":
            needed["comment_count"] = "it tells whose comments to ask for"
        if study.users.who in {"authors", "top"}:
            needed["username"] = "it tells whose profiles to ask for"
        return needed
    if entity == "comments":
        needed = {"id": "it tells comments apart", "create_time": "it tells when they were written"}
        if study.comments.replies == "all":
            needed["reply_count"] = "it tells which replies to ask for"
        return needed
    return {"id": "it tells videos apart"} if "id" in ENTITIES[entity].requested else {}


def _field_issues(study: StudyFile) -> Iterator[tuple[KeyPath, str]]:
    for entity, names in study.fields.items():
        where: KeyPath = ("fields", entity)
        if entity not in ENTITIES:
            yield where, f"there is no entity {entity!r}; allowed: {', '.join(ENTITIES)}"
            continue
        allowed = ENTITIES[entity].requested
        if not allowed:
            yield where, f"{entity} cannot be narrowed: the API takes no fields for it. Remove this line"
            continue
        for index, name in enumerate(names):
            if name not in allowed:
                yield (*where, index), f"{entity} have no field {name!r}; allowed: {', '.join(allowed)}"
        for name, reason in required_fields(study, entity).items():
            if name not in names:
                yield where, f"{name} cannot be dropped from {entity}: {reason}. Add it to the list"


def _rule_issues(study: StudyFile, today: date) -> Iterator[tuple[KeyPath, str]]:
    if study.name in RESERVED_NAMES:
        yield (
            ("name",),
            f"{study.name!r} is a name of the warehouse's own; not allowed: {', '.join(sorted(RESERVED_NAMES))}",
        )
    if study.start > today:
        yield ("start",), f"{study.start} is in the future; the first day must be {today} (UTC) or before"
    if study.end is not None and study.end < study.start:
        yield ("end",), f"{study.end} is before the start, {study.start}; the last day must not be"
    early = [age for age in study.reobserve_days if age <= study.settle_days]
    if early:
        yield ("reobserve_days",), f"{early} must be above settle_days, {study.settle_days}: a day is asked then anyway"
    if len(set(study.reobserve_days)) != len(study.reobserve_days):
        yield ("reobserve_days",), "the same age stands there twice"
    for where, mode, key, value in (
        ("comments", study.comments.videos, "n", study.comments.n),
        ("comments", study.comments.videos, "fraction", study.comments.fraction),
        ("users", study.users.who, "n", study.users.n),
    ):
        owner = "sample" if key == "fraction" else "top"
        if mode == owner and value is None:
            yield (
                (where,),
                f"{owner} needs {key}: {'a number above 0, at most 1' if key == 'fraction' else '1 or more'}",
            )
        if mode != owner and value is not None:
            yield (where, key), f"{key} has a meaning with {owner} only, not with {mode}"


def _resolve_panel(study: StudyFile, folder: Path, mistakes: list[tuple[KeyPath, str]]) -> tuple[str, ...]:
    names: list[str] = []
    for index, text in enumerate(study.panel.usernames):
        try:
            names.append(parse_username(text))
        except PanelError as error:
            mistakes.append((("panel", "usernames", index), str(error)))
    if study.panel.file is not None:
        try:
            names.extend(read_panel(folder / study.panel.file))
        except PanelError as error:
            mistakes.append((("panel", "file"), str(error)))
    if study.users.who == "panel" and not names:
        mistakes.append((("users",), "users of the panel are wanted, but there is no panel; add panel: usernames"))
    return tuple(dict.fromkeys(names))


def parse_query_groups(value: object) -> tuple[dict[str, tuple[dict[str, Any], ...]], list[tuple[KeyPath, str]]]:
    """The query in the API's own form, and every mistake in it rather than only the first."""
    try:
        return parse_query(value), []
    except QueryError as error:
        first = (("query", *error.path), error.message)
    mistakes = []
    if isinstance(value, dict):
        for group, conditions in value.items():
            for index, condition in enumerate(conditions if isinstance(conditions, list) else ()):
                try:
                    parse_query({group: [condition]})
                except QueryError as error:
                    if error.path[:2] == (group, 0):
                        mistakes.append((("query", group, index, *error.path[2:]), error.message))
    return {}, [first, *(mistake for mistake in mistakes if mistake != first)]


def to_spec(study: StudyFile, folder: Path, today: date) -> tuple[StudySpec, list[tuple[KeyPath, str]]]:
    """The plain form of a study, with what is wrong in it; the spec is of use only if nothing is."""
    query, mistakes = parse_query_groups(study.query)
    mistakes += [*_rule_issues(study, today), *_field_issues(study)]
    panel = _resolve_panel(study, folder, mistakes)
    spec = StudySpec(
        name=study.name,
        start=study.start,
        end=study.end,
        query=query,
        settle_days=study.settle_days,
        reobserve_days=tuple(sorted(study.reobserve_days)),
        comments=CommentRule(
            videos=study.comments.videos,
            n=study.comments.n or 0,
            fraction=study.comments.fraction or 1.0,
            seed=study.comments.seed,
            replies=study.comments.replies,
        ),
        users=UserRule(who=study.users.who, n=study.users.n or 0),
        panel=panel,
        observe=study.observe,
        quota_weight=study.quota_weight,
        fields={entity: tuple(dict.fromkeys(names)) for entity, names in study.fields.items()},
    )
    return spec, mistakes
