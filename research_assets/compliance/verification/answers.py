"""The answers to the look-ups of a task, and the verdict on each item: ids of videos, or handles of accounts.

An item is missing after answers on two UTC days that lack it, each with proof that the request works. The file of the
answers has one line per answer, so that a removal of the item removes it: the item, the time (Unix seconds), and `+`
(returned), `-` (not returned) or `?` (not returned, and nothing showed that the request works).
Not here: the requests (see lookups.py).
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from research_assets.storage.checked_lines import append_durably

Sign = Literal["+", "-", "?"]

DAYS_NEEDED = 2
"""UTC days on which an item must not be returned to count as missing."""


class Answer(NamedTuple):
    """The answer to one look-up of an item (UTC)."""

    item: str
    at: datetime
    sign: Sign


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers of a task by item, oldest first."""

    by_item: dict[str, list[Answer]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def load(cls, path: Path) -> "Answers":
        """Return the answers in a file; a line that a kill cut off is left out, so its item is looked up again."""
        answers = cls()
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        for line in text.splitlines(keepends=True):
            item, _, rest = line.rpartition(",")[0].rpartition(",")
            sign = line[-2:]
            if item and rest.isdecimal() and sign in ("+\n", "-\n", "?\n"):
                answers.add(Answer(item, datetime.fromtimestamp(int(rest), UTC), sign[0]))  # type: ignore[arg-type]
        return answers

    def add(self, answer: Answer) -> None:
        """Add an answer."""
        self.by_item[answer.item].append(answer)

    def of(self, item: str) -> Sequence[Answer]:
        """Return the answers of an item."""
        return self.by_item.get(item, ())

    def returned_at(self, item: str) -> datetime | None:
        """Return when the API returned an item, None if it did not."""
        return max((one.at for one in self.of(item) if one.sign == "+"), default=None)

    def missing_since(self, item: str) -> datetime | None:
        """Return the time of the first answer that lacks an item if it is missing, else None."""
        times = [one.at for one in self.of(item) if one.sign == "-"]
        is_missing = self.returned_at(item) is None and len({at.date() for at in times}) >= DAYS_NEEDED
        return min(times) if is_missing else None

    def is_suspected(self, item: str) -> bool:
        """Return whether an answer lacks an item that no answer has."""
        return self.returned_at(item) is None and bool(self.of(item))

    def open_items(self, items: Iterable[str]) -> list[str]:
        """Return the items that are neither returned nor missing."""
        return [one for one in items if self.returned_at(one) is None and self.missing_since(one) is None]

    def due_items(self, items: Iterable[str], day: date) -> list[str]:
        """Return the open items without an answer of a UTC day."""
        found = self.open_items(items)
        return [one for one in found if all(answer.at.date() != day for answer in self.of(one))]


def append_answers(path: Path, answers: Sequence[Answer]) -> None:
    """Append answers to a file durably."""
    lines = "".join(f"{one.item},{int(one.at.timestamp())},{one.sign}\n" for one in answers)
    append_durably(path, lines.encode())
