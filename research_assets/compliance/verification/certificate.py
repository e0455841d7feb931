"""The certificate of verification: what is stored, when it was verified, what was withdrawn and removed.

It has counts, times and digests, no id and no handle, so it can be given to an auditor. `write_certificate` writes it
to `state/certificates/` as JSON and as text. Not here: the verification (see step.py).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

from research_assets.clock import MAX_CLOCK_SKEW
from research_assets.compliance.plan import RECEIPTS
from research_assets.compliance.verification import due
from research_assets.compliance.verification.guards import EXPLANATIONS
from research_assets.compliance.verification.held import KINDS, count_held
from research_assets.compliance.verification.tasks import Task, TaskJournal, journal_path
from research_assets.settings import Settings
from research_assets.storage.files import digest_of, private_folder, write_private
from research_assets.storage.listing import matching_paths
from research_assets.storage.withdrawals import log_digest, read_withdrawals


def certificates_folder(settings: Settings) -> Path:
    """Return the folder of the certificates."""
    return settings.state / "certificates"


@dataclass(frozen=True, slots=True)
class StoredItems:
    """Stored items of one kind: due within the lead time, overdue, and times (UTC; None without an item).

    `n_late` are those that fall due before half of the lead time has passed. With `is_from_future` an item was verified
    after the time of the certificate, so the clock is behind and the numbers of due items prove nothing.
    """

    kind: str
    n_stored: int
    n_due: int
    n_late: int
    n_overdue: int
    oldest_verified_at: datetime | None
    newest_verified_at: datetime | None
    first_due_at: datetime | None
    is_from_future: bool


@dataclass(frozen=True, slots=True)
class CertifiedTask:
    """A task: its ids, those that exist and those that do not, the ids withdrawn, and its state (see `Task.phase`)."""

    name: str
    kind: str
    planned_at: datetime
    created_at: datetime | None
    n_sent: int
    n_verified: int
    n_missing: int
    n_withdrawn: int
    state: str
    reason: str

    @property
    def state_text(self) -> str:
        """Return the state with the reason why the answer waits for a person, if it does."""
        return f"waits for a person: {self.reason}" if self.state == "word" else self.state


@dataclass(frozen=True, slots=True)
class CertifiedRemoval:
    """A removal: the withdrawn items by kind and how they were found, and when every file was free of them (UTC).

    `ended_at` is None until a removal cleaned all files: this one, or a later one, which cleans them of all items.
    """

    receipt: str
    withdrawn_at: datetime
    items: Mapping[str, int]
    found_by: Sequence[str]
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Certificate:
    """The state of verification at a time (UTC). `removals` and `tasks` are oldest first."""

    written_at: datetime
    verify_days: int
    software: str
    stored: Sequence[StoredItems]
    tasks: Sequence[CertifiedTask]
    removals: Sequence[CertifiedRemoval]
    withdrawals_sha256: str
    tasks_sha256: str

    @property
    def waiting(self) -> list[CertifiedTask]:
        """Return the tasks whose answer waits for a person."""
        return [task for task in self.tasks if task.state == "word"]

    @property
    def unfinished(self) -> list[CertifiedRemoval]:
        """Return the removals that did not clean every file."""
        return [removal for removal in self.removals if removal.ended_at is None]

    @property
    def findings(self) -> list[str]:
        """Return what is not as the terms require, or will not be soon, each with what to do; empty if all is well."""
        found = []
        for items in self.stored:
            if items.is_from_future:
                found.append(
                    f"{items.kind.capitalize()}s were verified at {_time(items.newest_verified_at)}, after the time of "
                    f"this certificate ({_time(self.written_at)}), so it does not show which items are due. The clock "
                    "of this machine is behind. Set it, then run `research-assets verify --certificate`."
                )
            if items.n_overdue:
                found.append(
                    f"{items.n_overdue:,} of {items.n_stored:,} {items.kind}s are overdue: not verified for "
                    f"{self.verify_days} days."
                )
            elif items.n_late:
                found.append(
                    f"{items.n_late:,} of {items.n_stored:,} {items.kind}s fall due at "
                    f"{_time(items.first_due_at)} and are not verified yet."
                )
        for task in self.waiting:
            found.append(
                f"The task {task.name} waits for a person: {task.reason}. Run `research-assets verify --status`."
            )
        for removal in self.unfinished:
            found.append(
                f"The removal {removal.receipt} did not clean every file. Run `research-assets forget`, which repeats "
                "it and names the files."
            )
        return found

    @property
    def is_late(self) -> bool:
        """Return whether an item is overdue, falls due before half of the lead time has passed, or that is unknown."""
        return any(items.n_late or items.is_from_future for items in self.stored)

    def count_withdrawn(self) -> Counter[tuple[str, str]]:
        """Return the withdrawn items by kind and state: `removed` or `not removed`."""
        counts: Counter[tuple[str, str]] = Counter()
        for removal in self.removals:
            for kind, number in removal.items.items():
                counts[kind, "removed" if removal.ended_at else "not removed"] += number
        return counts


def certificate_text(certificate: Certificate) -> str:
    """Return a certificate as text in Markdown."""
    meaning = (
        f"Written at {_time(certificate.written_at)} by research-assets {certificate.software}. Items must be verified "
        f"every {certificate.verify_days} days (RESEARCH_VERIFY_DAYS). An item counts as verified when it was "
        "collected, or when the API confirmed that it still exists."
    )
    withdrawn = certificate.count_withdrawn()
    blocks = [
        "# Certificate of verification",
        meaning,
        "\n".join(f"- {finding}" for finding in certificate.findings) or "Every stored item was verified in time.",
        _table(
            ["stored", "number", "due", "overdue", "oldest verification", "next due"],
            [
                [f"{one.kind}s", one.n_stored, one.n_due, one.n_overdue, one.oldest_verified_at, one.first_due_at]
                for one in certificate.stored
            ],
        ),
        _table(
            ["withdrawn", "removed from every file", "not removed"],
            [
                [f"{kind}s", withdrawn[kind, "removed"], withdrawn[kind, "not removed"]]
                for kind in sorted({kind for kind, _ in withdrawn})
            ],
        ),
        _table(
            ["task", "kind", "sent", "verified", "missing", "withdrawn", "state"],
            [
                [one.name, one.kind, one.n_sent, one.n_verified, one.n_missing, one.n_withdrawn, one.state_text]
                for one in certificate.tasks
            ],
        ),
        _table(
            ["removal", "withdrawn", "removed from every file", "items"],
            [
                [
                    one.receipt,
                    one.withdrawn_at,
                    one.ended_at,
                    ", ".join(f"{number:,} {kind}" for kind, number in sorted(one.items.items())),
                ]
                for one in certificate.removals
            ],
        ),
        f"SHA-256 of the log of withdrawals: `{certificate.withdrawals_sha256}`",
        f"SHA-256 of the journal of tasks: `{certificate.tasks_sha256}`",
    ]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table in Markdown; an empty text without rows."""
    if not rows:
        return ""
    lines = [titles, ["---"] * len(titles), *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    if value is None or isinstance(value, datetime):
        return _time(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def make_certificate(settings: Settings, now: datetime) -> Certificate:
    """Return the certificate of a data folder at a time."""
    journal = TaskJournal(settings)
    return Certificate(
        written_at=now.astimezone(UTC),
        verify_days=settings.verify_days,
        software=version("research-assets"),
        stored=[_stored(settings, kind, now) for kind in KINDS],
        tasks=[_task(task) for task in journal.tasks.values()],
        removals=_removals(settings.state),
        withdrawals_sha256=log_digest(settings.state),
        tasks_sha256=digest_of(journal_path(settings)),
    )


def write_certificate(settings: Settings, now: datetime, name: str = "") -> tuple[Certificate, Path]:
    """Write the certificate as JSON, and as Markdown beside it; returns it with the path of the Markdown.

    `name` is the name of the files without ending, by default the time.
    """
    certificate = make_certificate(settings, now)
    path = private_folder(certificates_folder(settings)) / f"{name or f'{certificate.written_at:%Y%m%dT%H%M%SZ}'}.md"
    stored = asdict(certificate) | {"findings": certificate.findings}
    write_private(path.with_suffix(".json"), orjson.dumps(stored, option=orjson.OPT_INDENT_2))
    write_private(path, certificate_text(certificate).encode())
    return certificate, path


def _stored(settings: Settings, kind: str, now: datetime) -> StoredItems:
    overdue, last_due = now - due.interval(settings), due.last_due(settings, now)
    n_late = count_held(settings, kind, overdue + (last_due - overdue) / 2, overdue).n_due
    held = count_held(settings, kind, last_due, overdue)
    first_due = held.earliest + due.interval(settings) if held.earliest else None
    # The time of a verification is that of the API, which may differ from this machine's. A sandbox may show any time.
    limit = settings.clock_limit
    is_from_future = limit is not None and held.latest is not None and held.latest > now + limit + MAX_CLOCK_SKEW
    return StoredItems(
        kind=kind,
        n_stored=held.n_held,
        n_due=held.n_due,
        n_late=n_late,
        n_overdue=held.n_overdue,
        oldest_verified_at=held.earliest,
        newest_verified_at=held.latest,
        first_due_at=first_due,
        is_from_future=is_from_future,
    )


def _task(task: Task) -> CertifiedTask:
    return CertifiedTask(
        name=task.name,
        kind=task.kind,
        planned_at=task.planned_at,
        created_at=task.created_at,
        n_sent=task.n_sent,
        n_verified=task.n_valid if task.is_done else 0,
        n_missing=task.n_missing,
        n_withdrawn=task.n_withdrawn,
        state="rejected" if task.word == "rejected" else task.phase,
        reason=EXPLANATIONS.get(task.reason, "") if task.reason else "",
    )


def _removals(state: Path) -> list[CertifiedRemoval]:
    """Return the removals of the log of withdrawals, with the times of their receipts."""
    removals: dict[str, dict[str, Any]] = {}
    for one in read_withdrawals(state):
        entry = removals.setdefault(one.receipt, {"at": one.at, "items": Counter(), "found_by": set()})
        entry["items"][one.kind] += 1
        entry["found_by"].add(one.found_by)
    complete = sorted(_complete_removals(state / RECEIPTS), key=lambda one: one[1])
    return [
        CertifiedRemoval(
            receipt,
            one["at"],
            dict(one["items"]),
            sorted(one["found_by"]),
            next((ended_at for started_at, ended_at in complete if started_at >= one["at"]), None),
        )
        for receipt, one in removals.items()
    ]


def _complete_removals(receipts: Path) -> Iterator[tuple[datetime, datetime]]:
    """Yield beginning and end of each removal of items that cleaned every file; a damaged receipt proves none."""
    for path in matching_paths(receipts, "*.json"):
        try:
            stored = orjson.loads(path.read_bytes())
            if stored["complete"] and stored["scope"] == "items":
                yield datetime.fromisoformat(stored["started_at"]), datetime.fromisoformat(stored["ended_at"])
        except (OSError, ValueError, KeyError, TypeError):
            continue


def _time(value: datetime | None) -> str:
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if value else "none"
