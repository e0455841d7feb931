"""The record of who ran which command on the data: `state/audit_log.jsonl`, without content.

Not here: the receipts of removals (see forget.py).
"""

from datetime import UTC, datetime

import orjson

from research_assets.settings import Settings
from research_assets.storage.checked_lines import add_checksum, append_durably, is_intact
from research_assets.storage.files import private_folder
from research_assets.storage.sent_by import this_process

AUDIT_LOG = "audit_log.jsonl"
"""Name of the record in the folder `state`."""

_EXPORT = "export "


def export_command(folder: str) -> str:
    """Return the recorded command of an export, which names its folder, so that it is known where copies may be."""
    return f"{_EXPORT}{folder}"


def recorded_exports(settings: Settings) -> list[tuple[str, datetime]]:
    """Return the folder and the time of each recorded export, oldest first; damaged lines are skipped."""
    try:
        lines = (settings.state / AUDIT_LOG).read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    recorded = [orjson.loads(line) for line in lines if is_intact(line)]
    return [
        (one["command"].removeprefix(_EXPORT), datetime.fromisoformat(one["at"]))
        for one in recorded
        if one["command"].startswith(_EXPORT)
    ]


def record_command(settings: Settings, command: str, now: datetime, *, receipt: str | None = None) -> None:
    """Append a command to the record: its user, host and time (UTC). `command` must contain no argument with an id."""
    line = {
        "at": now.astimezone(UTC),
        "user": this_process().user,
        "host": this_process().host,
        "command": command,
        "receipt": receipt,
    }
    append_durably(private_folder(settings.state) / AUDIT_LOG, add_checksum(orjson.dumps(line)))
