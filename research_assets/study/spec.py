"""What a study wants, as plain values: the collector's input. No YAML, no Dagster, no files.

`research_assets.component` reads a study file into a `StudySpec`; tests build one by hand.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

QueryGroups = Mapping[str, tuple[Mapping[str, Any], ...]]
"""The API's query (reference 3.1.1): groups `and`, `or`, `not` of conditions in the API's own form. No empty group."""


@dataclass(frozen=True, slots=True)
class CommentRule:
    """Which videos' comments are collected: all, the `n` most commented of a day, or a random share of a day's.

    `replies` says whether the replies of a comment that has some are asked too, at one request or more per comment.
    """

    videos: Literal["all", "top", "sample", "none"] = "all"
    n: int = 0
    fraction: float = 1.0
    seed: int = 0
    replies: Literal["all", "none"] = "all"


@dataclass(frozen=True, slots=True)
class UserRule:
    """Whose profiles are observed: authors of the study's videos, the `n` with most videos, the panel, or nobody."""

    who: Literal["authors", "top", "panel", "none"] = "authors"
    n: int = 0


@dataclass(frozen=True, slots=True)
class StudySpec:
    """One study. `fields` narrows the requested fields by entity; an entity that is not named asks for all."""

    name: str
    start: date
    query: QueryGroups
    end: date | None = None
    settle_days: int = 2
    reobserve_days: tuple[int, ...] = ()
    comments: CommentRule = CommentRule()
    users: UserRule = UserRule()
    panel: tuple[str, ...] = ()
    observe: Literal["weekly", "daily"] = "weekly"
    quota_weight: float = 1.0
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
