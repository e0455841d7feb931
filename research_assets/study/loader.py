"""Study files: where they are, what they say, and on which line they are wrong.

`load_studies` is the one way from YAML to `StudySpec`: the Dagster component and the command line both take it, so a
file is accepted by both or by neither. It starts nothing of Dagster. What a study may say is in `study_model`.
"""

import difflib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from research_assets.clock import SystemClock
from research_assets.settings import DEFS_DIR, VARIABLES, Settings
from research_assets.study.model import MODEL_BY_KEY, KeyPath, StudyFile, parse_query_groups, to_spec
from research_assets.study.spec import StudySpec

COMPONENT_TYPE = "research_assets.Study"

COMPONENT_KEYS = ("type", "attributes", "requirements", "template_vars_module", "post_processing")
"""What Dagster allows at the top of a component file."""


@dataclass(frozen=True, slots=True)
class StudyIssue:
    """One thing that is wrong: in which file, on which line (0: no line), at which key, and what is allowed instead."""

    file: Path
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else str(self.file)
        return ": ".join(part for part in (place, self.key, self.message) if part)


class StudyError(ValueError):
    """Studies cannot be used; `mistakes` holds all that was found, in every file. Nothing was loaded.

    `sound` are the studies without a mistake, for who only looks.
    """

    def __init__(self, mistakes: list[StudyIssue], sound: Sequence[StudySpec] = ()) -> None:
        self.valid_studies = tuple(sound)
        self.issues = tuple(sorted(set(mistakes), key=lambda m: (str(m.file), m.line, m.key)))
        count = "1 mistake" if len(self.issues) == 1 else f"{len(self.issues)} mistakes"
        super().__init__(f"{count} in the study files:\n" + "\n".join(map(str, self.issues)))


@dataclass(frozen=True, slots=True)
class DeclaredStudy:
    """A study and the place where it is declared."""

    spec: StudySpec
    file: Path
    line: int


class _YamlLoader(yaml.SafeLoader):
    """Days stay text, as in Dagster's own reading of component files."""


_YamlLoader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _Document:
    """One YAML document: its plain value, and the line of each key and list entry."""

    def __init__(self, node: yaml.Node, file: Path) -> None:
        self.file = file
        self.lines: dict[KeyPath, int] = {(): node.start_mark.line + 1}
        self.mistakes: list[StudyIssue] = []
        self._loader = _YamlLoader("")
        self.value = self._plain(node, ())

    def _plain(self, node: yaml.Node, path: KeyPath) -> Any:
        if isinstance(node, yaml.MappingNode):
            value: dict[Any, Any] = {}
            for key_node, child in node.value:
                key = self._plain(key_node, path)
                key = key if isinstance(key, (str, int)) else str(key)
                if key in value:
                    self.add_issue((*path, key), "this key stands there twice; keep one", key_node.start_mark.line + 1)
                    continue
                self.lines[(*path, key)] = key_node.start_mark.line + 1
                value[key] = self._plain(child, (*path, key))
            return value
        if isinstance(node, yaml.SequenceNode):
            for index, child in enumerate(node.value):
                self.lines[(*path, index)] = child.start_mark.line + 1
            return [self._plain(child, (*path, index)) for index, child in enumerate(node.value)]
        plain = self._loader.construct_object(node)
        if isinstance(plain, bool) and node.value.lower() not in {"true", "false"}:
            self.add_issue(path, f"YAML reads {node.value} as {str(plain).lower()}; write '{node.value}' in quotes")
            return node.value
        return plain

    def line(self, path: KeyPath) -> int:
        """The line of a key, or of the nearest one above it that the file has."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]

    def add_issue(self, path: KeyPath, message: str, line: int | None = None) -> None:
        where = ".".join(map(str, path))
        self.mistakes.append(StudyIssue(self.file, line or self.line(path), where, message))


def _unknown_key_message(key: object, allowed: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(str(key), allowed, n=1)
    hint = f" Do you mean {close[0]!r}?" if close else ""
    return f"there is no key {str(key)!r} here; allowed: {', '.join(allowed)}.{hint}"


def _validation_message(error: Mapping[str, Any], path: KeyPath) -> str:
    """A pydantic error in the words of the other mistakes."""
    got = "" if isinstance(error["input"], (dict, list)) else f", not {error['input']!r}"
    match error["type"]:
        case "extra_forbidden":
            return _unknown_key_message(path[-1], tuple(MODEL_BY_KEY[path[:-1]].model_fields))
        case "missing":
            return f"the key {path[-1]!r} is missing"
        case "value_error":
            return str(error["ctx"]["error"])
        case "string_pattern_mismatch":
            return f"must be small letters, digits and _, beginning with a letter{got}"
        case "model_type" | "model_attributes_type":
            allowed = MODEL_BY_KEY[path].model_fields if path in MODEL_BY_KEY else StudyFile.model_fields
            return f"must be a mapping with the keys {', '.join(allowed)}{got}"
    return str(error["msg"]).replace("Input should be", "must be") + got


def _read(document: _Document, today: date, ours: bool) -> StudySpec | None:
    """The study of a document, or None if it declares something else or mistakes were noted."""
    value = document.value
    kind = value.get("type") if isinstance(value, dict) else None
    if kind != COMPONENT_TYPE:
        if ours:
            document.add_issue(
                ("type",), f"must be `type: {COMPONENT_TYPE}`, as this folder is for studies, not {kind!r}"
            )
        else:
            document.mistakes.clear()
        return None
    for key in value:
        if key not in COMPONENT_KEYS:
            document.add_issue((key,), _unknown_key_message(key, COMPONENT_KEYS))
    attributes = value.get("attributes")
    if not isinstance(attributes, dict):
        document.add_issue(("attributes",), f"must be a mapping with the keys {', '.join(StudyFile.model_fields)}")
        return None
    try:
        study = StudyFile.model_validate(attributes)
    except ValidationError as error:
        for detail in error.errors():
            document.add_issue(("attributes", *detail["loc"]), _validation_message(detail, detail["loc"]))
        if "query" in attributes:
            for path, message in parse_query_groups(attributes["query"])[1]:
                document.add_issue(("attributes", *path), message)
        return None
    spec, mistakes = to_spec(study, document.file.parent, today)
    for path, message in mistakes:
        document.add_issue(("attributes", *path), message)
    return None if document.mistakes else spec


def read_study_file(file: Path, *, today: date | None = None, studies_only: bool = False) -> list[DeclaredStudy]:
    """The studies of one file. `ours`: the file must hold studies and nothing else.

    Raises StudyError with each mistake of the file.
    """
    today = today or SystemClock().now().date()
    try:
        nodes = list(yaml.compose_all(file.read_text(encoding="utf-8"), _YamlLoader))
        documents = [_Document(node, file) for node in nodes if node is not None]
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError([StudyIssue(file, 1, "", f"cannot be read: {error}")]) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", error)
        raise StudyError([StudyIssue(file, mark.line + 1 if mark else 1, "", f"is not YAML: {problem}")]) from error
    declared, mistakes = [], []
    if studies_only and not documents:
        mistakes.append(StudyIssue(file, 1, "", f"is empty; a study begins with `type: {COMPONENT_TYPE}`"))
    for document in documents:
        spec = _read(document, today, studies_only)
        mistakes += document.mistakes
        if spec is not None:
            declared.append(DeclaredStudy(spec, file, document.line(("attributes", "name"))))
    if mistakes:
        raise StudyError(mistakes)
    return declared


def _files(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.rglob("defs.y*ml")):
        if not any(part.startswith(".") for part in file.relative_to(folder).parts):
            yield file.resolve()


def find_studies(settings: Settings, *, defs: Path = DEFS_DIR, today: date | None = None) -> list[DeclaredStudy]:
    """Every study of the project's `defs/` and of the folders in `settings.studies`, sorted by name.

    Raises StudyError with each mistake of all files, two studies of one name included.
    """
    mistakes: list[StudyIssue] = []
    found: dict[Path, list[DeclaredStudy]] = {}
    for folder in (defs, *settings.studies):
        if folder != defs and not folder.is_dir():
            name = VARIABLES["studies"].name
            mistakes.append(
                StudyIssue(folder, 0, "", f"is no folder, but {name} names it. Create it or correct {name}")
            )
            continue
        for file in _files(folder):
            if file in found:
                continue
            try:
                found[file] = read_study_file(file, today=today, studies_only=folder != defs)
            except StudyError as error:
                mistakes += error.issues
    studies = sorted((study for studies in found.values() for study in studies), key=lambda study: study.spec.name)
    for one, other in itertools.pairwise(studies):
        if one.spec.name == other.spec.name:
            message = f"the name {one.spec.name!r} is taken by {one.file}:{one.line}; choose another"
            mistakes.append(StudyIssue(other.file, other.line, "attributes.name", message))
    if mistakes:
        wrong = {(mistake.file, mistake.line) for mistake in mistakes}
        raise StudyError(mistakes, [study.spec for study in studies if (study.file, study.line) not in wrong])
    return studies


def load_studies(settings: Settings, *, defs: Path = DEFS_DIR, today: date | None = None) -> list[StudySpec]:
    """The studies themselves, sorted by name; errors as in `find_studies`."""
    return [study.spec for study in find_studies(settings, defs=defs, today=today)]
