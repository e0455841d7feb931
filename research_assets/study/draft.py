"""Drafts of study files: a few answers become YAML with comments, which the loader checks before it is written.

`research-assets new-study` and `dg scaffold` both use this module. Not here: the keys of a study file and their rules
(see model.py); the prompts (see cli/new_study.py).
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

from research_assets.settings import Settings
from research_assets.storage import files
from research_assets.study.loader import COMPONENT_TYPE, StudyError, StudyIssue, find_studies, read_study_file
from research_assets.text import short_label

# Texts that need no quotes, also inside brackets: words, except those that YAML reads as truth values (country NO), and
# days.
_PLAIN = re.compile(
    r"(?!(?:y|n|yes|no|on|off|true|false|null)$)[a-z][a-z0-9_.]*|\d{4}-\d\d-\d\d", re.IGNORECASE | re.ASCII
)
_NUMBER = re.compile(r"\d+(\.\d+)?", re.ASCII)


class DraftError(Exception):
    """A study cannot be written. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class StudyDraft:
    """The answers. A video needs one of the hashtags and keywords, and must meet each of the other conditions.

    `comments` is all, none, top:<n> or sample:<fraction>; `users` is authors, panel, none or top:<n>.
    """

    name: str
    start: str
    end: str = ""
    regions: tuple[str, ...] = ()
    hashtags: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    usernames: tuple[str, ...] = ()
    comments: str = "all"
    users: str = "authors"
    panel: tuple[str, ...] = ()
    observe: str = "weekly"

    @property
    def has_condition(self) -> bool:
        """Whether the draft has any condition for videos."""
        return bool(self.regions or self.hashtags or self.keywords or self.usernames)


def write_draft(draft: StudyDraft, folder: Path, *, today: date | None = None) -> Path:
    """Write `defs.yaml` into a folder, which may be new, and return its path.

    Raise DraftError if the folder has a study file, or if the loader would reject the new one.
    """
    # First, because the name is part of the path: one of 300 letters is no path that could be looked up.
    if issues := draft_issues(draft, today=today):
        name = short_label(draft.name)
        raise DraftError(f"The study {name} was not written:\n" + "\n".join(f"- {issue}" for issue in issues))
    file = folder / "defs.yaml"
    if existing := next((path for path in (file, folder / "defs.yml") if path.exists()), None):
        raise DraftError(f"{existing} already exists. Nothing was changed. Choose another name, or edit that file.")
    if not folder.is_dir():
        folder.mkdir(parents=True)
        files.give_access_of_folder(folder)
    temporary = files.temporary_path(file)
    temporary.write_text(render_yaml(draft), encoding="utf-8")
    files.give_access_of_folder(temporary)
    temporary.replace(file)
    return file


def draft_issues(draft: StudyDraft, *, today: date | None = None) -> list[str]:
    """Return the issues that the loader finds in a draft, each with its key; empty if it accepts the draft."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "defs.yaml"
        file.write_text(render_yaml(draft), encoding="utf-8")
        try:
            read_study_file(file, today=today, studies_only=True)
        except StudyError as error:
            return [_format_issue(issue) for issue in error.issues]
    return []


def _format_issue(issue: StudyIssue) -> str:
    return f"{issue.key.removeprefix('attributes.')}: {issue.message}"


def require_unused_name(settings: Settings, name: str) -> None:
    """Raise DraftError if a study of that name exists, and StudyError if an existing study file has an error."""
    for study in find_studies(settings):
        if study.spec.name == name:
            raise DraftError(
                f"The study {name} is declared in {study.file}, line {study.line}. Nothing was changed. Choose another "
                "name, or edit that file."
            )


def study_folder(settings: Settings, name: str) -> Path:
    """Return the folder of a new study: in the first folder of RESEARCH_STUDIES, or in the project's `defs/`."""
    return (settings.studies[0] if settings.studies else settings.own_studies) / name


def render_yaml(draft: StudyDraft) -> str:
    """Return the text of the study file, with the other options as comments."""
    comments, users = _rule("videos", draft.comments), _rule("who", draft.users)
    end = f"end: {_scalar(draft.end)}" if draft.end else "# end: 2026-12-31"
    attributes = [
        f"name: {_scalar(draft.name)}  # first part of the asset keys; another name is another study",
        "# title: Gardening videos in Germany  # title in reports and descriptions",
        f"start: {_scalar(draft.start)}  # first day, UTC",
        f"{end}  # last day, UTC; without it the study continues",
        "# days: {sample: 0.2, by: [month, weekday], seed: 7}  # a random sample of the days; by default all",
        "settle_days: 2  # age of a day in days at which it is collected: new videos appear up to 48 hours late",
        "# reobserve_days: [12, 30]  # ages in days at which a day is collected again; default with comments: [12]",
        "# repeat: 0.05  # share of the days that is collected twice within a day, to see whether searches repeat",
        "# count_lag_days: 10  # highest age of a count when the API returns it; a younger count of 0 is not trusted",
        *_query(draft),
        f"comments: {comments}  # all, none, {{videos: top, n: 50}}, {{videos: sample, fraction: 0.1}}",
        f"users: {users}  # whose profiles: authors, panel, none, {{who: top, n: 200}}",
        *_panel(draft.panel),
        f"observe: {_scalar(draft.observe)}  # period of profiles and of the panel's lists: weekly or daily",
        "# observe_until: 2026-12-31  # last UTC day on which profiles and lists are observed",
        "# delete_after: 2031-12-31   # last UTC day of retention; 14 days before it, the deletion is announced",
        "# verify_by: lookup  # how stored videos are verified: batch (default), or lookup: 1 request per 100 videos",
        "# owners: [team:garden]  # who is responsible, shown in Dagster: e-mail addresses, or team:name",
        "# quota_weight: 2  # weight of this study if the quota does not suffice for all studies",
        "# playlists: true  # also the playlists of the videos, one request or more each; by default none",
        "# fields: {users: [follower_count, video_count]}  # fewer fields of an entity; by default all",
        "# pseudonymous: true  # no handle is stored; needs a key, and users: panel or none (docs/studies.md)",
    ]
    header = [
        "# A study for Research Assets. Check it and estimate its cost: research-assets plan.",
        f"type: {COMPONENT_TYPE}",
        "attributes:",
    ]
    return "\n".join([*header, *(f"  {line}" for line in attributes)]) + "\n"


def _query(draft: StudyDraft) -> list[str]:
    """Return the lines of the query: all conditions must hold, but one of hashtags and keywords if both are given."""
    topics = [("hashtag_name", draft.hashtags), ("keyword", draft.keywords)]
    accounts = [("region_code", draft.regions), ("username", draft.usernames)]
    one_of_two = all(values for _, values in topics)
    all_of = [*accounts, *([] if one_of_two else topics)]
    lines = ["query:  # groups and, or, not of conditions, as in the API"]
    for group, conditions in (("and", all_of), ("or", topics if one_of_two else [])):
        given = [(field, values) for field, values in conditions if values]
        if given:
            lines += [f"  {group}:", *(f"    - {{field: {field}, {_values(values)}}}" for field, values in given)]
    if len(lines) == 1:
        lines[0] = "query: {}"
    return lines


def _values(values: Sequence[str]) -> str:
    return f"eq: {_scalar(values[0])}" if len(values) == 1 else f"in: [{', '.join(map(_scalar, values))}]"


def _rule(key: str, rule: str) -> str:
    word, _, number = rule.partition(":")
    if not number:
        return _scalar(word)
    amount = number if _NUMBER.fullmatch(number) else _scalar(number)
    return f"{{{key}: {_scalar(word)}, {'fraction' if word == 'sample' else 'n'}: {amount}}}"


def _panel(usernames: Sequence[str]) -> list[str]:
    if not usernames:
        return [
            "# panel:  # collects followers, following, likes, reposts, pins of accounts: a request or more each",
            "#   usernames: [a, b]",
            "#   file: panel.csv  # or a table with a column username, next to this file",
        ]
    return [
        "panel:  # collects followers, following, likes, reposts, pins of accounts: a request or more each",
        f"  usernames: [{', '.join(map(_scalar, usernames))}]",
        "  # file: panel.csv  # a table with a column username, next to this file",
    ]


def _scalar(text: str) -> str:
    """Return a text as a YAML scalar: plain, or in JSON's quotes with invisible characters as escapes."""
    if _PLAIN.fullmatch(text):
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(character if character.isprintable() else f"\\U{ord(character):08x}" for character in quoted)
