"""A new study file: a few answers become commented YAML, held against the real loader before it is there.

The words stand here once, for `research-assets new-study` and for `dg scaffold`. What a study may say at all is the
business of `study_model`.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

from research_assets.settings import DEFS_DIR, Settings
from research_assets.storage import files
from research_assets.study.loader import COMPONENT_TYPE, StudyError, StudyIssue, find_studies, read_study_file

# What needs no quotes, also inside brackets: words, but for those that YAML reads as truth values (country NO), days
# and numbers.
_PLAIN = re.compile(
    r"(?!(?:y|n|yes|no|on|off|true|false|null)$)[a-z][a-z0-9_.]*|\d{4}-\d\d-\d\d", re.IGNORECASE | re.ASCII
)
_NUMBER = re.compile(r"\d+(\.\d+)?", re.ASCII)


class DraftError(Exception):
    """A study was not written; nothing was changed."""


@dataclass(frozen=True, slots=True)
class StudyDraft:
    """The answers. Hashtags and keywords: a video needs one of them; everything else narrows further.

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
        """Whether it says at all which videos are meant."""
        return bool(self.regions or self.hashtags or self.keywords or self.usernames)


def write_draft(draft: StudyDraft, folder: Path, *, today: date | None = None) -> Path:
    """Write `defs.yaml` into a folder, which may be new; returns its path.

    Raises DraftError if there is a file already or if the loader would not take this one.
    """
    file = folder / "defs.yaml"
    if taken := next((path for path in (file, folder / "defs.yml") if path.exists()), None):
        raise DraftError(f"{taken} is there already; nothing is overwritten. Choose another name, or edit that file.")
    if found := draft_issues(draft, today=today):
        raise DraftError(f"The study {draft.name} was not written:\n" + "\n".join(f"- {mistake}" for mistake in found))
    folder.mkdir(parents=True, exist_ok=True)
    temporary = files.temporary_path(file)
    temporary.write_text(render_yaml(draft), encoding="utf-8")
    temporary.replace(file)
    return file


def draft_issues(draft: StudyDraft, *, today: date | None = None) -> list[str]:
    """What the loader of study files objects to, each with its key; empty if it takes the draft."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "defs.yaml"
        file.write_text(render_yaml(draft), encoding="utf-8")
        try:
            read_study_file(file, today=today, studies_only=True)
        except StudyError as error:
            return [_format_issue(mistake) for mistake in error.issues]
    return []


def _format_issue(mistake: StudyIssue) -> str:
    return f"{mistake.key.removeprefix('attributes.')}: {mistake.message}"


def require_unused_name(settings: Settings, name: str) -> None:
    """Raise DraftError if a study of that name is declared anywhere, and StudyError if the present ones are broken."""
    for study in find_studies(settings):
        if study.spec.name == name:
            raise DraftError(
                f"The study {name} is declared in {study.file}, line {study.line}. Nothing was changed. Choose another "
                "name, or edit that file."
            )


def study_folder(settings: Settings, name: str) -> Path:
    """The folder of a new study: below the first folder of RESEARCH_STUDIES, or in the project's `defs/`."""
    return (settings.studies[0] if settings.studies else DEFS_DIR) / name


def render_yaml(draft: StudyDraft) -> str:
    """The study file, with what else could be said as comments."""
    rule = _rule("videos", draft.comments)
    last = f"end: {_scalar(draft.end)}" if draft.end else "# end: 2026-12-31"
    attributes = [
        f"name: {_scalar(draft.name)}  # first part of the asset keys; a new name is a new study",
        f"start: {_scalar(draft.start)}  # first day, UTC",
        f"{last}  # last day; without it the study runs on",
        "settle_days: 2  # a day is collected once it is this old: new videos lag up to 48 hours",
        "# reobserve_days: [10, 30]  # ages at which a day's videos are asked again, for settled counts",
        *_query(draft),
        f"comments: {rule}  # all, none, {{videos: top, n: 50}}, {{videos: sample, fraction: 0.1}}",
        f"users: {_rule('who', draft.users)}  # whose profiles: authors, panel, none, {{who: top, n: 200}}",
        *_panel(draft.panel),
        f"observe: {_scalar(draft.observe)}  # how often profiles and the panel's lists are asked: weekly or daily",
        "# quota_weight: 2  # weight of this study when the quota is short",
    ]
    head = [
        "# A study for Research Assets. Mistakes are told by: make check-studies. What it costs: research-assets plan.",
        f"type: {COMPONENT_TYPE}",
        "attributes:",
    ]
    return "\n".join([*head, *(f"  {line}" for line in attributes)]) + "\n"


def _query(draft: StudyDraft) -> list[str]:
    """The conditions: regions and accounts all hold; of hashtags and keywords one is enough if both are given."""
    words = [("hashtag_name", draft.hashtags), ("keyword", draft.keywords)]
    narrow = [("region_code", draft.regions), ("username", draft.usernames)]
    either = all(values for _, values in words)
    together = [*narrow, *([] if either else words)]
    lines = ["query:  # groups and, or, not of conditions, as the API has them"]
    for group, conditions in (("and", together), ("or", words if either else [])):
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
            "# panel:  # asked for followers, following, likes, reposts, pins: a request or more each",
            "#   usernames: [a, b]",
            "#   file: panel.csv  # or a table with a column username, beside this file",
        ]
    return [
        "panel:  # asked for followers, following, likes, reposts, pins: a request or more each",
        f"  usernames: [{', '.join(map(_scalar, usernames))}]",
        "  # file: panel.csv  # a table with a column username, beside this file",
    ]


def _scalar(text: str) -> str:
    """A text as YAML takes it for that text: JSON's quotes are YAML's, what cannot be seen is written as a number."""
    if _PLAIN.fullmatch(text):
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(letter if letter.isprintable() else f"\\U{ord(letter):08x}" for letter in quoted)
