"""Loading of study files: their folders, their YAML, and their issues with file and line.

The Dagster component and the terminal both read YAML with this module, so that both accept the same files. Not here:
the keys of a study file and their rules (see model.py).
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
from research_assets.text import short_label

COMPONENT_TYPE = "research_assets.Study"
"""The `type` of a study file."""

COMPONENT_KEYS = ("type", "attributes", "requirements", "template_vars_module", "post_processing")
"""Keys that Dagster allows at the top level of a component file."""


@dataclass(frozen=True, slots=True)
class StudyIssue:
    """An error in a study file: the file, the line (0: no line), the key, and a message with the allowed values."""

    file: Path
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        position = f"{self.file}:{self.line}" if self.line else str(self.file)
        return ": ".join(part for part in (position, self.key, self.message) if part)


class StudyError(ValueError):
    """Study files are invalid; `issues` has every error of every file. No study was loaded.

    `valid_studies` are the studies without an error, for commands that only read.
    """

    def __init__(self, issues: list[StudyIssue], valid_studies: Sequence[StudySpec] = ()) -> None:
        self.valid_studies = tuple(valid_studies)
        self.issues = tuple(sorted(set(issues), key=lambda issue: (str(issue.file), issue.line, issue.key)))
        count = "1 error" if len(self.issues) == 1 else f"{len(self.issues)} errors"
        super().__init__(f"{count} in the study files:\n" + "\n".join(map(str, self.issues)))


@dataclass(frozen=True, slots=True)
class DeclaredStudy:
    """A study, with the file and line that declare it."""

    spec: StudySpec
    file: Path
    line: int


class _YamlLoader(yaml.SafeLoader):
    """YAML loader that keeps dates as text, as Dagster does for component files."""


_YamlLoader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _Document:
    """One YAML document: its plain value, the line of each key and list entry, and its issues."""

    def __init__(self, node: yaml.Node, file: Path) -> None:
        self.file = file
        self.lines: dict[KeyPath, int] = {(): node.start_mark.line + 1}
        self.issues: list[StudyIssue] = []
        self._loader = _YamlLoader("")
        self.value = self._plain(node, ())

    def _plain(self, node: yaml.Node, path: KeyPath) -> Any:
        if isinstance(node, yaml.MappingNode):
            value: dict[Any, Any] = {}
            for key_node, child in node.value:
                key = self._plain(key_node, path)
                key = key if isinstance(key, (str, int)) else str(key)
                if key in value:
                    self.add_issue((*path, key), "duplicate key; remove one", key_node.start_mark.line + 1)
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
        """Return the line of a key, or of the nearest parent that the file contains."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]

    def add_issue(self, path: KeyPath, message: str, line: int | None = None) -> None:
        key = ".".join(map(str, path))
        self.issues.append(StudyIssue(self.file, line or self.line(path), key, message))


def _unknown_key_message(key: object, allowed: tuple[str, ...]) -> str:
    similar = difflib.get_close_matches(str(key), allowed, n=1)
    hint = f" Do you mean {similar[0]!r}?" if similar else ""
    return f"unknown key {str(key)!r}; allowed: {', '.join(allowed)}.{hint}"


def _validation_message(error: Mapping[str, Any], path: KeyPath) -> str:
    """Return a message for a pydantic error, in the form of the other messages."""
    actual = "" if isinstance(error["input"], (dict, list)) else f", not {short_label(repr(error['input']))}"
    match error["type"]:
        case "extra_forbidden":
            return _unknown_key_message(path[-1], tuple(MODEL_BY_KEY[path[:-1]].model_fields))
        case "missing":
            return f"the key {path[-1]!r} is missing"
        case "value_error":
            return str(error["ctx"]["error"])
        case "string_too_long":
            return f"must have at most {error['ctx']['max_length']} characters, not {len(error['input'])}"
        case "string_pattern_mismatch":
            return f"must be lowercase letters, digits and _, and begin with a letter{actual}"
        case "model_type" | "model_attributes_type":
            allowed = MODEL_BY_KEY[path].model_fields if path in MODEL_BY_KEY else StudyFile.model_fields
            return f"must be a mapping with the keys {', '.join(allowed)}{actual}"
    return str(error["msg"]).replace("Input should be", "must be") + actual


def _read_document(document: _Document, today: date, studies_only: bool) -> StudySpec | None:
    """Return the study of a document; None if it declares another component or has an error."""
    value = document.value
    component_type = value.get("type") if isinstance(value, dict) else None
    if component_type != COMPONENT_TYPE:
        if studies_only:
            document.add_issue(
                ("type",),
                f"must be `type: {COMPONENT_TYPE}`, not {component_type!r}: this folder may contain only studies",
            )
        else:
            document.issues.clear()
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
    spec, issues = to_spec(study, document.file.parent, today)
    for path, message in issues:
        document.add_issue(("attributes", *path), message)
    return None if document.issues else spec


def read_study_file(file: Path, *, today: date | None = None, studies_only: bool = False) -> list[DeclaredStudy]:
    """Return the studies of one file; with `studies_only` any other component in it is an error.

    Raise StudyError with every error of the file.
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
    declared, issues = [], []
    if studies_only and not documents:
        issues.append(StudyIssue(file, 1, "", f"is empty; a study begins with `type: {COMPONENT_TYPE}`"))
    for document in documents:
        spec = _read_document(document, today, studies_only)
        issues += document.issues
        if spec is not None:
            declared.append(DeclaredStudy(spec, file, document.line(("attributes", "name"))))
    if issues:
        raise StudyError(issues)
    return declared


def _files(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.rglob("defs.y*ml")):
        if not any(part.startswith(".") for part in file.relative_to(folder).parts):
            yield file.resolve()


def find_studies(settings: Settings, *, defs: Path | None = None, today: date | None = None) -> list[DeclaredStudy]:
    """Return every study of the installation's own folder and of the folders in `settings.studies`, sorted by name.

    `defs` replaces the own folder. Raise StudyError with every error of all files, including two studies with one name.
    """
    issues: list[StudyIssue] = []
    found: dict[Path, list[DeclaredStudy]] = {}
    own = defs or settings.own_studies
    for folder in (own, *settings.studies):
        if folder != own and not folder.is_dir():
            name = VARIABLES["studies"].name
            issues.append(
                StudyIssue(folder, 0, "", f"is not a folder, but {name} contains it. Create it or correct {name}")
            )
            continue
        for file in _files(folder):
            if file in found:
                continue
            try:
                found[file] = read_study_file(file, today=today, studies_only=folder not in (defs, DEFS_DIR))
            except StudyError as error:
                issues += error.issues
    studies = sorted((study for studies in found.values() for study in studies), key=lambda study: study.spec.name)
    for one, other in itertools.pairwise(studies):
        if one.spec.name == other.spec.name:
            message = f"the name {one.spec.name!r} is already used in {one.file}:{one.line}; choose another name"
            issues.append(StudyIssue(other.file, other.line, "attributes.name", message))
    if issues:
        invalid = {(issue.file, issue.line) for issue in issues}
        raise StudyError(issues, [study.spec for study in studies if (study.file, study.line) not in invalid])
    return studies


def load_studies(settings: Settings, *, defs: Path | None = None, today: date | None = None) -> list[StudySpec]:
    """Return the specs of all studies, sorted by name; errors as in `find_studies`."""
    return [study.spec for study in find_studies(settings, defs=defs, today=today)]
