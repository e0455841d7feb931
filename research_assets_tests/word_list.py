"""Words and phrases that the project's texts avoid, with what to write instead; `make lint` runs this module.

The list covers comments, docstrings, messages, descriptions and documentation. Errors fail the command; warnings are
printed with `--warnings` and never fail it. Not here: the names of code (see docs/glossary.md for the terms).
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

PROJECT = Path(__file__).parent.parent
SUFFIXES = {".py", ".sql", ".yml", ".yaml", ".md", ".html", ".csv", ".toml", ".cff"}
EXCLUDED = {"research_assets_tests/word_list.py", "research_assets_tests/test_word_list.py", "uv.lock"}


@dataclass(frozen=True, slots=True)
class Phrase:
    """A pattern that a text must not contain (`error`) or should not (`warning`), and what to use instead."""

    level: Literal["error", "warning"]
    pattern: re.Pattern[str]
    use: str


def _error(pattern: str, use: str) -> Phrase:
    return Phrase("error", re.compile(pattern, re.IGNORECASE), use)


def _warning(pattern: str, use: str) -> Phrase:
    return Phrase("warning", re.compile(pattern, re.IGNORECASE), use)


PHRASES = (
    _error(r"\b(anew|whence|whoever|shall)\b", "again, from scratch; from where; anyone who, the caller; must, will"),
    _error(r"\bof late\b|\blately\b|\bin vain\b", "recently, in the last 7 days; without progress"),
    _error(r"\bonce more\b", "again; or the number: one retry"),
    _error(r"\b(for|to) who\b|\bwho looks\b|\blooks on\b", "for callers that; to readers who"),
    _error(r"\bfounded on\b|\bgrounds? (for|of)\b", "based on, basis of"),
    _error(r"\b(held|hold) against\b|\bhold rules\b", "checked against, compared with"),
    _error(r"\b(is|are|was|were|be|been) told\b", "is reported, logged, shown (say where)"),
    _error(r"\btell(s|ing)? of\b|\btold of\b", "reports, describes, alerts on"),
    _error(r"\b(is|are|was|were|be|been) asked\b", "is requested, collected, queried"),
    _error(r"\basks? back\b|\basks nothing\b|\bask(ed)? nothing\b", "prompts; sends no request"),
    _error(r"\bstands? (in|under|beside|below|behind|there|twice)\b", "is in, is next to"),
    _error(r"\bhow (things|it|they|days|all) .{0,30}stands?\b", "the status of"),
    _error(r"\bspeaks\b", "is the current attempt, takes precedence"),
    _error(r"\bgo(es|ing|ne)? on (with|where|after)\b", "resume(s), resumes from"),
    _error(r"\bgiven up\b", "quarantined (unit); abandoned, deleted (rest)"),
    _error(r"\b(came|comes|became|becomes) of\b", "result of, outcome of"),
    _error(r"\b(be|been|to be) had\b", "available"),
    _error(
        r"\b(look|looks|looked) for known\b|\bknown (videos|from before)\b",
        "canary check; previously collected videos",
    ),
    _error(
        r"\b(first|last|newest|complete|failed|no|each|two) looks?\b",
        "observation; attempt; sensor tick",
    ),
    _error(r"\bdays? of asking\b", "collection date"),
    _error(r"\bparts? (these )?rows\b|\bparts (them|it)\b", "separates, divides"),
    _error(r"\bso many\b", "a number of, N"),
    _error(r"\bmend(s|ed)?\b", "fix, repair"),
    _error(r"\baffair\b|\bno matter\b|'s (matter|business|affair)\b", "is handled in x.py"),
    _error(r"\bin good order\b|\bin plain words\b", "cleanly; (delete)"),
    _error(r"\bchance with which\b|\binterval of chance\b", "probability of; confidence interval"),
    _error(r"\bmistakes?\b", "error, issue"),
    _error(r"\bpoints? to people\b|\bin the way\b|\bhalf of it\b", "identifies people; blocks; a partial file"),
    _error(
        r"\b(roll call|canary sings?|song|errand|courier|purse|blame)\b",
        "canary recheck, result, context, sender, budget, bisect",
    ),
    _error(r'^ *"""What ', "a noun phrase: Fields of a raw table."),
    _warning(r"\b(nobody|somebody|everybody)\b", "name the actor: another process, the user, no study"),
    _warning(r"\bgives\b", "returns, yields"),
    _warning(r"\bas long as\b|\bwhatever\b", "while, until; any"),
    _warning(
        r"\bwhat is (held|left|missing|there|asked|wanted)\b",
        "collected data; remaining; missing; expected units",
    ),
    _warning(r"\bheld\b", "collected, stored"),
    _warning(r"\bin words\b", "as text"),
    _warning(r"\b(moment|moments)\b", "time, timestamp"),
)
"""The list. Patterns ignore case and are matched line by line."""


def tracked_files() -> list[Path]:
    """The text files of the project that git tracks, apart from generated ones."""
    listing = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    paths = [PROJECT / name for name in listing.splitlines() if name not in EXCLUDED]
    return [path for path in paths if path.suffix in SUFFIXES or path.name in {"Makefile", ".env.example"}]


def findings(path: Path, *, warnings: bool = False) -> Iterator[str]:
    """The violations in one file, as `path:line: level: "words": use ...`."""
    shown = path.relative_to(PROJECT) if path.is_relative_to(PROJECT) else path
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if path.name == "CHANGELOG.md" and line.startswith("|"):
            continue  # The table of renames quotes the old names.
        for phrase in PHRASES:
            if phrase.level == "warning" and not warnings:
                continue
            for match in phrase.pattern.finditer(line):
                yield f"{shown}:{number}: {phrase.level}: {match.group().strip()!r}: use {phrase.use}"


def main(arguments: Iterable[str] | None = None) -> int:
    """Check the given files, or all tracked ones. Return 1 if there is an error, else 0."""
    parser = argparse.ArgumentParser(description="Check texts against the project's word list.")
    parser.add_argument("--warnings", action="store_true", help="Show warnings too; they never fail.")
    parser.add_argument("paths", nargs="*", type=Path, help="Files or folders; default: all tracked files.")
    options = parser.parse_args(None if arguments is None else list(arguments))
    chosen = [path.resolve() for path in options.paths]
    files = [
        path
        for path in tracked_files()
        if path.exists() and (not chosen or any(path.is_relative_to(folder) for folder in chosen))
    ]
    failed = False
    for path in files:
        for finding in findings(path, warnings=options.warnings):
            failed |= ": error: " in finding
            print(finding)  # noqa: T201
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
