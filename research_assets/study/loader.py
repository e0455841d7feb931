"""Loading of study files: their folders, their YAML, and their issues with file and line.

The Dagster component and the terminal both read YAML with this module, so that both accept the same files. Not here:
the keys of a study file and their rules (see model.py).
"""

import difflib
import fnmatch
import itertools
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from research_assets.clock import SystemClock
from research_assets.settings import DEFS_DIR, VARIABLES, Settings
from research_assets.storage.listing import RECOVERY_FOLDER
from research_assets.storage.pseudonym_keys import PseudonymKeyError
from research_assets.storage.withdrawals import read_withdrawn
from research_assets.study.left_out import leave_out_accounts
from research_assets.study.model import MODEL_BY_KEY, KeyPath, StudyFile, parse_query_groups, to_spec
from research_assets.study.provenance import with_declared
from research_assets.study.pseudonymous import hide_values, names_accounts, pseudonymize
from research_assets.study.spec import StudySpec
from research_assets.text import join_surrogates, short_label
from research_assets.text_files import TextFileError, decode_text

COMPONENT_TYPE = "research_assets.Study"
"""The `type` of a study file."""

STUDY_FILES = "defs.y*ml"
"""The names of study files, as a pattern."""

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
    """A study, with the file and line that declare it, and notes on values that are requested in another spelling.

    `panel_file` is the table of accounts that was read with it.
    """

    spec: StudySpec
    file: Path
    line: int
    notes: tuple[StudyIssue, ...] = ()
    panel_file: Path | None = None


class _YamlLoader(yaml.SafeLoader):
    """YAML loader that keeps dates as text, as Dagster does for component files."""


_YamlLoader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


MAX_NODES = 100_000
"""Values in one document, with those of aliases counted each time."""

_TAG = "tag:yaml.org,2002:"
_SCALAR_TAGS = frozenset({"str", "int", "float", "bool", "null", "merge", "value"})
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_INTEGER = re.compile("0|-?[1-9][0-9]{0,40}")
_DECIMAL = re.compile("-?(?:0|[1-9][0-9]{0,20})[.][0-9]{1,40}")

_TRUTH_VALUES = frozenset(
    ("attributes", *key, name)
    for key, model in MODEL_BY_KEY.items()
    for name, field in model.model_fields.items()
    if field.annotation is bool
)
"""The keys whose value is true or false; elsewhere such a word is a text or an error."""

_TEMPLATES = ("{{", "{%", "{#")
_COMMENT = re.compile(r"[ \t]*(#[^\s,\]}]*)")
_HASHTAG_AFTER_VALUE = re.compile(r"[ \t]+(#[^\s#][^\n]*)")
_HASHTAG_IN_FLOW = re.compile(r"\s*(?:,\s*)?(#[^\s#][^\n]*)")
_UNREADABLE_BREAKS = {"\x85": "U+0085", "\u2028": "U+2028", "\u2029": "U+2029"}


def _is_plain_decimal(text: str) -> bool:
    """Return whether a number in decimal form is the same number as a float."""
    return _DECIMAL.fullmatch(text) is not None and Decimal(repr(float(text))) == Decimal(text)


def _is_text(path: KeyPath) -> bool:
    """Return whether values below a key are texts whatever they look like: those of the query and the panel's names."""
    return path[1:2] == ("query",) or path[1:3] == ("panel", "usernames")


class PlainScalar(str):
    """An unquoted scalar that YAML 1.1 reads as something that is written otherwise, such as `010` as 8.

    `reading` is what YAML reads. Where a number or a word of a list is wanted, such a scalar is an error.
    """

    reading: str = ""


class _Document:
    """One YAML document: its plain value, the line of each key and list entry, and its issues.

    A number is in plain decimal form, and any other scalar is its text, so that no value differs from what is written.
    """

    def __init__(self, node: yaml.Node, file: Path, source: str) -> None:
        self.file = file
        self.lines: dict[KeyPath, int] = {(): node.start_mark.line + 1}
        self.issues: list[StudyIssue] = []
        self._loader = _YamlLoader("")
        self._source = source
        self._parents: set[int] = set()
        self._n_nodes = 0
        self.value = self._plain(node, (), is_flow=False)

    def _plain(self, node: yaml.Node, path: KeyPath, *, is_flow: bool) -> Any:
        self._n_nodes += 1
        if self._n_nodes > MAX_NODES or id(node) in self._parents:
            reason = "refers to itself" if id(node) in self._parents else f"has more than {MAX_NODES:,} values"
            raise StudyError(
                [StudyIssue(self.file, node.start_mark.line + 1, "", f"{reason}; write it without aliases")]
            )
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path, is_flow)
        if not isinstance(node, yaml.CollectionNode) or node.tag not in (f"{_TAG}map", f"{_TAG}seq"):
            self._add_tag_issue(node, path)
            return None
        self._parents.add(id(node))
        is_flow = bool(node.flow_style)
        if is_flow:
            self._check_comment(node.start_mark.index + 1, path, node, is_flow=True)
        value: dict[str, Any] | list[Any]
        if isinstance(node, yaml.MappingNode):
            value = self._mapping(node, path, is_flow)
        else:
            for index, child in enumerate(node.value):
                self.lines[(*path, index)] = child.start_mark.line + 1
            value = [self._plain(child, (*path, index), is_flow=is_flow) for index, child in enumerate(node.value)]
        self._parents.discard(id(node))
        return value

    def _mapping(self, node: yaml.MappingNode, path: KeyPath, is_flow: bool) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for key_node, child in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.add_issue(path, "a key must be a word. Write a text that begins with { or [ in quotes", line)
                continue
            try:
                key = join_surrogates(key_node.value)
            except ValueError as error:
                self.add_issue(path, f"a key {error}", line)
                continue
            if key_node.tag == f"{_TAG}merge":
                self.add_issue((*path, key), "merge keys are not allowed; write the keys here", line)
            elif key in value:
                self.add_issue((*path, key), "duplicate key; remove one", line)
            else:
                self.lines[(*path, key)] = line
                value[key] = self._plain(child, (*path, key), is_flow=is_flow)
        return value

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath, is_flow: bool) -> Any:
        tag, text = node.tag.removeprefix(_TAG), node.value
        if tag not in _SCALAR_TAGS:
            self._add_tag_issue(node, path)
            return None
        if not text and node.style is None and (comment := _COMMENT.match(self._source, node.end_mark.index)):
            self.add_issue(path, f"is empty, because `#` begins a comment; write '{comment[1]}' in quotes")
            return None
        self._check_comment(node.end_mark.index, path, node, is_flow=is_flow)
        try:
            text = join_surrogates(text)
        except ValueError as error:
            self.add_issue(path, str(error))
            return None
        if any(pattern in text for pattern in _TEMPLATES):
            self.add_issue(path, f"contains {{{{ or {{%, which Dagster reads as a template: {short_label(text)}")
            return None
        if node.style is not None or tag == "str":
            return text
        if tag == "null" and text in _NULLS:
            return None
        if _is_text(path):
            return text
        match tag:
            case "int" if _INTEGER.fullmatch(text):
                return int(text)
            case "float" if _is_plain_decimal(text):
                return float(text)
            case "bool" if path in _TRUTH_VALUES and text in ("true", "false"):
                return text == "true"
        scalar = PlainScalar(text)
        scalar.reading = self._reading(node)
        return scalar

    def _reading(self, node: yaml.ScalarNode) -> str:
        """Return what YAML 1.1 reads, as text."""
        try:
            value = self._loader.construct_object(node)
        except (yaml.YAMLError, ValueError, OverflowError):
            return "something else"
        return str(value).lower() if isinstance(value, bool) else short_label(str(value))

    def _check_comment(self, end: int, path: KeyPath, node: yaml.Node, *, is_flow: bool) -> None:
        """Add an issue if a hashtag follows a value of the query or the panel, where YAML reads it as a comment."""
        if not _is_text(path):
            return
        pattern = _HASHTAG_IN_FLOW if is_flow else _HASHTAG_AFTER_VALUE
        if comment := pattern.match(self._source, end):
            start = node.start_mark if isinstance(node, yaml.CollectionNode) else node.end_mark
            line = start.line + 1 + comment[0].count("\n")
            self.add_issue(
                path,
                f"`{short_label(comment[1])}` is not part of the value, because `#` begins a comment. Write the value "
                "in quotes, or a blank after the # of a comment",
                line,
            )

    def _add_tag_issue(self, node: yaml.Node, path: KeyPath) -> None:
        tag = node.tag.replace(_TAG, "!!")
        self.add_issue(path, f"the tag {tag} is not allowed; write the value without it, or in quotes")

    def unclear_scalars(self, value: Any, path: KeyPath = ("attributes",)) -> Iterator[KeyPath]:
        """Yield the paths of the scalars within a value that YAML reads otherwise."""
        if isinstance(value, PlainScalar):
            yield path
        elif isinstance(value, dict | list):
            for key, item in value.items() if isinstance(value, dict) else enumerate(value):
                yield from self.unclear_scalars(item, (*path, key))

    def line(self, path: KeyPath) -> int:
        """Return the line of a key, or of the nearest parent that the file contains."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]

    def issue(self, path: KeyPath, message: str, line: int | None = None) -> StudyIssue:
        """Return an issue with the line of its key."""
        return StudyIssue(self.file, line or self.line(path), ".".join(map(str, path)), message)

    def add_issue(self, path: KeyPath, message: str, line: int | None = None) -> None:
        """Add an issue to those of the document, unless the key has one, of which the new one is a consequence."""
        issue = self.issue(path, message, line)
        if not any((known.key, known.line) == (issue.key, issue.line) for known in self.issues):
            self.issues.append(issue)


def _unknown_key_message(key: object, allowed: tuple[str, ...]) -> str:
    similar = difflib.get_close_matches(str(key), allowed, n=1)
    hint = f" Do you mean {similar[0]!r}?" if similar else ""
    return f"unknown key {str(key)!r}; allowed: {', '.join(allowed)}.{hint}"


def _validation_message(error: Mapping[str, Any], path: KeyPath) -> str:
    """Return a message for a pydantic error, in the form of the other messages."""
    actual = "" if isinstance(error["input"], (dict, list)) else f", not {short_label(repr(error['input']))}"
    if isinstance(error["input"], PlainScalar):
        actual = f", not {short_label(error['input'])}, which YAML reads as {error['input'].reading}"
        if error["type"] in ("int_type", "float_type"):
            actual += ". Write plain digits, without signs, underscores and leading zeros"
            actual += ", but with one 0 before the point" * (error["type"] == "float_type")
    match error["type"]:
        case "extra_forbidden":
            return _unknown_key_message(path[-1], tuple(MODEL_BY_KEY[path[:-1]].model_fields))
        case "missing":
            return f"the key {path[-1]!r} is missing"
        case "value_error":
            return str(error["ctx"]["error"])
        case "string_too_long":
            hint = ". A longer name for readers is `title`" if path == ("name",) else ""
            return f"must have at most {error['ctx']['max_length']} characters, not {len(error['input'])}{hint}"
        case "string_pattern_mismatch" if path[:1] == ("owners",):
            return (
                f"must be an e-mail address, or team: and a name of letters, digits and _, such as team:garden{actual}"
            )
        case "string_pattern_mismatch":
            return f"must be lowercase letters, digits and _, and begin with a letter{actual}"
        case "model_type" | "model_attributes_type":
            allowed = MODEL_BY_KEY[path].model_fields if path in MODEL_BY_KEY else StudyFile.model_fields
            return f"must be a mapping with the keys {', '.join(allowed)}{actual}"
    return str(error["msg"]).replace("Input should be", "must be") + actual


def _read_document(document: _Document, today: date, studies_only: bool) -> DeclaredStudy | None:
    """Return the study of a document; None if it declares another component or has an error.

    Nothing that is said about a pseudonymous study quotes its accounts.
    """
    study = _read_study(document, today, studies_only)
    attributes = document.value.get("attributes") if isinstance(document.value, dict) else None
    if not isinstance(attributes, dict) or attributes.get("pseudonymous") is not True:
        return study
    accounts = {".".join(map(str, path)) for path in document.lines if names_accounts(attributes, path[1:])}

    def may_name(issue: StudyIssue) -> bool:
        # With `@` for example a link to a video.
        return issue.key in accounts or "@" in issue.message

    document.issues = [
        replace(one, message=hide_values(one.message)) if may_name(one) else one for one in document.issues
    ]
    return study and replace(study, notes=tuple(one for one in study.notes if not may_name(one)))


def _read_study(document: _Document, today: date, studies_only: bool) -> DeclaredStudy | None:
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
    unclear = dict.fromkeys(document.unclear_scalars(attributes))
    try:
        study = StudyFile.model_validate(attributes)
    except ValidationError as error:
        for detail in error.errors():
            path = ("attributes", *detail["loc"])
            document.add_issue(path, _validation_message(detail, detail["loc"]))
            for scalar in [scalar for scalar in unclear if path[: len(scalar)] == scalar[: len(path)]]:
                del unclear[scalar]
        _add_unclear_issues(document, unclear)
        if "query" in attributes:
            for path, message in parse_query_groups(attributes["query"])[1]:
                document.add_issue(("attributes", *path), message)
        return None
    _add_unclear_issues(document, unclear)
    spec, issues, notes = to_spec(study, document.file.parent, today)
    for path, message in issues:
        document.add_issue(("attributes", *path), message)
    if document.issues:
        return None
    shown = tuple(document.issue(("attributes", *path), message) for path, message in notes)
    panel_file = None if study.panel.file is None else document.file.parent / study.panel.file
    return DeclaredStudy(spec, document.file, document.line(("attributes", "name")), shown, panel_file)


def _add_unclear_issues(document: _Document, paths: Iterable[KeyPath]) -> None:
    for path in paths:
        scalar = document.value
        for key in path:
            scalar = scalar[key]
        document.add_issue(path, f"YAML reads {scalar} as {scalar.reading}; write '{scalar}' in quotes")


def _read_utf_8(file: Path) -> str:
    """Return the text of a study file. Raise TextFileError for another encoding, which Dagster would not read."""
    data = file.read_bytes()
    text = decode_text(data)
    if text != data.decode("utf-8-sig", errors="replace"):
        raise TextFileError("is in UTF-16 or UTF-32. Save it as UTF-8")
    return text


def _compose(source: str, file: Path) -> list[yaml.Node]:
    """Return the documents of a file as nodes. Raise StudyError with the line of what is not YAML."""

    def failure(position: int, message: str) -> StudyError:
        return StudyError([StudyIssue(file, source.count("\n", 0, position) + 1, "", message)])

    for character, name in _UNREADABLE_BREAKS.items() if COMPONENT_TYPE in source else ():
        if (position := source.find(character)) >= 0:
            raise failure(position, f"contains {name}, which YAML reads as the end of a line; remove it")
    try:
        return [node for node in yaml.compose_all(source, _YamlLoader) if node is not None]
    except yaml.reader.ReaderError as error:
        raise failure(error.position, f"is not YAML: the character U+{error.character:04X} is not allowed") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = mark.index if mark else 0
        hint = ""
        is_flow = "flow" in f"{error.context}"
        comments = list(_HASHTAG_IN_TEXT.finditer(source, 0, position)) if is_flow else []
        if comments:
            comment = comments[-1]
            position, hint = comment.start(1), f". `#` begins a comment; write '{comment[1]}' in quotes"
        elif (character := source[position : position + 1]) in _NEEDS_QUOTES:
            hint = f". {_NEEDS_QUOTES[character]}"
        elif (found := _foreign_character(source, position)) is not None:
            position, character = found
            hint = f". The line contains U+{ord(character):04X}. Write {_FOREIGN[character]} instead"
        elif "mapping values are not allowed" in str(error.problem):
            hint = (
                ". Write a text that contains `: ` in quotes. Check that this line and the one above have a blank "
                "after the colon of their key, and the right indentation"
            )
        elif any(word in str(error.problem) for word in ("<block end>", "could not find expected ':'")):
            hint = (
                ". Check the indentation of this line: all keys of one mapping begin in the same column. Check that "
                "the line above has a colon and a blank after its key"
            )
        raise failure(position, f"is not YAML: {error.problem or error}{hint}") from error
    except (ValueError, OverflowError) as error:
        # An escape such as "\U00110000"; the reader says no line.
        escape = re.search(r"\\U(?!0010|000)[0-9a-fA-F]{8}", source)
        raise failure(escape.start() if escape else 0, f"is not YAML: an escape is no character ({error})") from error


_HASHTAG_IN_TEXT = re.compile(r"[\s,\[{:](#[^\s#,\]}]+)")
_NEEDS_QUOTES = {
    "@": "Write a text that begins with @ in quotes, or without @",
    "`": "Write a text that begins with ` in quotes",
    "%": "Write a text that begins with % in quotes",
    "\t": "Indent with blanks, not with tabs",
    "*": "Write a text that begins with * in quotes",
    "&": "Write a text that begins with & in quotes",
}
"""Advice on characters with which no plain text of YAML can begin."""


_FOREIGN = {
    "\N{NO-BREAK SPACE}": "a blank",
    "\N{NARROW NO-BREAK SPACE}": "a blank",
    "\N{FIGURE SPACE}": "a blank",
    "\N{EM SPACE}": "a blank",
    "\N{EN SPACE}": "a blank",
    "\N{THIN SPACE}": "a blank",
    "\N{IDEOGRAPHIC SPACE}": "a blank",
    "\N{FULLWIDTH COLON}": "a colon and a blank",
    "\N{RATIO}": "a colon and a blank",
    "\N{EN DASH}": "a hyphen",
    "\N{EM DASH}": "a hyphen",
    "\N{FULLWIDTH LEFT CURLY BRACKET}": "{",
    "\N{FULLWIDTH LEFT SQUARE BRACKET}": "[",
}
"""Meant characters of those that look like YAML, for example in a text that was copied from a web page."""


def _foreign_character(source: str, position: int) -> tuple[int, str] | None:
    """Return a character of `_FOREIGN` in a line that is not YAML or in the line above it, and its position."""
    end = source.find("\n", position)
    start = source.rfind("\n", 0, max(0, source.rfind("\n", 0, position))) + 1
    line = source[start : end if end >= 0 else len(source)]
    return next(((start + at, one) for at, one in enumerate(line) if one in _FOREIGN), None)


def read_study_file(file: Path, *, today: date | None = None, studies_only: bool = False) -> list[DeclaredStudy]:
    """Return the studies of one file; with `studies_only` any other component in it is an error.

    Raise StudyError with every error of the file.
    """
    today = today or SystemClock().now().date()
    try:
        source = _read_utf_8(file)
        documents = [_Document(node, file, source) for node in _compose(source, file)]
    except (OSError, TextFileError) as error:
        line = getattr(error, "line", 0) or 1
        raise StudyError([StudyIssue(file, line, "", f"cannot be read: {error}")]) from error
    except RecursionError as error:
        raise StudyError([StudyIssue(file, 1, "", "is nested too deep to be a study")]) from error
    declared, issues = [], []
    if studies_only and not documents:
        issues.append(StudyIssue(file, 1, "", f"is empty; a study begins with `type: {COMPONENT_TYPE}`"))
    for document in documents:
        study = _read_document(document, today, studies_only)
        issues += document.issues
        if study is not None:
            declared.append(study)
    if issues:
        raise StudyError(issues)
    return declared


def _files(folder: Path, name: str, issues: list[StudyIssue]) -> Iterator[Path]:
    """Yield the files below a folder whose name matches a pattern, without hidden ones; add what cannot be listed."""

    def add_issue(error: OSError) -> None:
        # The project's own folder may be missing.
        if not isinstance(error, FileNotFoundError) and Path(error.filename).name != RECOVERY_FOLDER:
            message = f"cannot be listed, so study files in it are not loaded: {error.strerror}. Make it readable"
            issues.append(StudyIssue(Path(error.filename), 0, "", message))

    for parent, folders, names in os.walk(folder, onerror=add_issue):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        for found in sorted(fnmatch.filter(names, name)):
            if not found.startswith("."):
                yield Path(parent, found)


_STUDY_FILE = re.compile(r"[.]ya?ml([.]txt)?", re.IGNORECASE)


def overlooked_files(settings: Settings) -> list[StudyIssue]:
    """Return the files that declare a study and are not loaded, because of their name, such as `defs.yaml.txt`."""
    issues = []
    for folder in (settings.own_studies, *settings.studies):
        # `find_studies` reports what cannot be listed.
        files = [*_files(folder, "*.*", [])]
        loaded = {file.resolve() for file in files if fnmatch.fnmatch(file.name, STUDY_FILES)}
        for file in files:
            if not _STUDY_FILE.search(file.name) or file.resolve() in loaded or not file.is_file():
                continue
            try:
                declares = COMPONENT_TYPE in decode_text(file.read_bytes())
            except (OSError, TextFileError):
                continue
            if declares:
                message = "is not loaded. Only files with the name defs.yaml are; rename it if it is a study"
                issues.append(StudyIssue(file, 0, "", message))
    return list(dict.fromkeys(issues))


def find_studies(settings: Settings, *, defs: Path | None = None, today: date | None = None) -> list[DeclaredStudy]:
    """Return every study of the installation's own folder and of the folders in `settings.studies`, sorted by name.

    `defs` replaces the own folder. Withdrawn accounts are left out (see left_out.py), and a pseudonymous study names
    accounts by pseudonyms (see pseudonymous.py).
    Raise StudyError with every error of all files, including two studies with one name.
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
        for file in [path.resolve() for path in _files(folder, STUDY_FILES, issues)]:
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
    studies = [loaded for study in studies if (loaded := _with_settings(study, settings, issues)) is not None]
    if issues:
        invalid = {(issue.file, issue.line) for issue in issues}
        raise StudyError(issues, [study.spec for study in studies if (study.file, study.line) not in invalid])
    return studies


def _with_settings(study: DeclaredStudy, settings: Settings, issues: list[StudyIssue]) -> DeclaredStudy | None:
    """Return a study as it is collected: without withdrawn accounts, and with pseudonyms if it is pseudonymous.

    Add an issue and return None if the key of its pseudonyms cannot be used.
    """
    root = settings.root.resolve()
    if study.spec.pseudonymous and study.file.is_relative_to(root):
        message = f"the file is in the data folder {root}, which would have its handles. Move it out of that folder"
        issues.append(StudyIssue(study.file, study.line, "attributes.pseudonymous", message))
        return None
    try:
        return replace(study, spec=apply_settings(study.spec, settings))
    except PseudonymKeyError as error:
        issues.append(StudyIssue(study.file, study.line, "attributes.pseudonymous", str(error)))
        return None


def apply_settings(study: StudySpec, settings: Settings) -> StudySpec:
    """Return a study without withdrawn accounts, and with pseudonyms if it is pseudonymous.

    Raises PseudonymKeyError, see `pseudonymize`.
    """
    withdrawn = read_withdrawn(settings.state)
    # The log may have an account by its handle, by its pseudonym, or both.
    declared, kept = pseudonymize(study, settings), leave_out_accounts(study, withdrawn)
    loaded = declared if kept is study else pseudonymize(kept, settings)
    return leave_out_accounts(with_declared(loaded, declared), withdrawn)


def load_valid_studies(settings: Settings) -> list[StudySpec]:
    """Return the specs of the studies without an error, for what only reads."""
    try:
        return load_studies(settings)
    except StudyError as error:
        return list(error.valid_studies)


def load_studies(settings: Settings, *, defs: Path | None = None, today: date | None = None) -> list[StudySpec]:
    """Return the specs of all studies, sorted by name; errors as in `find_studies`."""
    return [study.spec for study in find_studies(settings, defs=defs, today=today)]


def studies_reader(settings: Settings) -> Callable[[], list[StudySpec]]:
    """Return a function that loads all studies, and reads their files again only after one of them has changed.

    Errors as in `find_studies`.
    """
    stamps: list[tuple[Path, int, int]] = []
    panel_files: set[Path] = set()
    read: list[StudySpec] | None = None

    def load() -> list[StudySpec]:
        nonlocal stamps, panel_files, read
        current = [*_stamps(settings, panel_files)]
        if read is None or current != stamps:
            read = None
            studies = find_studies(settings)
            found = {study.panel_file for study in studies if study.panel_file is not None}
            # No stamp from before this read exists of a file of accounts that it found, so the next call reads again.
            stamps = current if found == panel_files else []
            panel_files = found
            read = [study.spec for study in studies]
        return read

    return load


def _stamps(settings: Settings, panel_files: Collection[Path]) -> Iterator[tuple[Path, int, int]]:
    """Yield path, time of change and size of each file in the folders of studies, and of the files of accounts."""
    folders = (settings.own_studies, *settings.studies)
    for file in (*(file for folder in folders for file in _files(folder, "*", [])), *panel_files):
        # An editor may have removed its draft meanwhile. A file that cannot be read is an error of `find_studies`.
        with suppress(OSError):
            status = file.stat()
            yield file, status.st_mtime_ns, status.st_size
