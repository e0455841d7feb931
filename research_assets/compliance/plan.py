"""The plan of a removal in progress, which is stored until every file is done, so that the next command finishes it.

Not here: the steps of the removal (see removal.py, whole_folders.py).
"""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from research_assets.storage.files import write_private

RECEIPTS = "receipts"
"""Name of the folder in `state` with the receipts, which have no content."""


@dataclass(slots=True)
class Plan:
    """A removal in progress, as it is stored in `state/removal.json`, without any handle.

    `comments` are the comments that go with withdrawn videos and comments, `pseudonyms` those of all items, by which
    pseudonymous exports are found; `n_pseudonyms` of the accounts in `items` are pseudonyms of others. `captures` are
    the captures whose raw files must be built again, and `rebuild` is true if the warehouse must. `counts` are the
    files done so far, by kind and action. `study` is set if all files of a study go instead of items (see
    whole_folders.py). `studies` are those whose captures change, whose reports go with them. `rewritten_exports` are
    the exports whose rewriting has begun, `reports` the removed pages, `profiles` the hashes of accounts of which only
    profile and lists go. `has_problems` is true after a pass that could not clean every file.
    """

    receipt: str
    started_at: datetime
    items: list[dict[str, Any]]
    comments: list[int] = field(default_factory=list)
    pseudonyms: list[str] = field(default_factory=list)
    n_pseudonyms: int = 0
    captures: list[str] = field(default_factory=list)
    rebuild: bool = False
    study: str = ""
    studies: list[str] = field(default_factory=list)
    removed_exports: list[str] = field(default_factory=list)
    rewritten_exports: list[str] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)
    profiles: list[str] = field(default_factory=list)
    has_problems: bool = False
    counts: dict[str, dict[str, int]] = field(default_factory=dict)

    def save(self, state: Path) -> None:
        """Store the plan durably."""
        stored = {name: getattr(self, name) for name in Plan.__slots__}
        write_private(plan_path(state), orjson.dumps(stored))

    def absorb(self, other: "Plan") -> None:
        """Take over what the files that another removal could not clean may contain."""
        for name in ("comments", "pseudonyms", "profiles"):
            setattr(self, name, sorted({*getattr(self, name), *getattr(other, name)}))

    @classmethod
    def load(cls, state: Path) -> "Plan | None":
        """Return the plan of a removal that did not end; None if there is none."""
        try:
            stored = orjson.loads(plan_path(state).read_bytes())
        except FileNotFoundError:
            return None
        return cls(**stored | {"started_at": datetime.fromisoformat(stored["started_at"])})


def plan_path(state: Path) -> Path:
    """Return the path of the plan of a removal in progress."""
    return state / "removal.json"
