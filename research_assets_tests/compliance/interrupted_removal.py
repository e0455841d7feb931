"""A removal in a process of its own that kills itself at its n-th operation on the disk; run with arguments."""

import sys
from datetime import UTC, datetime
from pathlib import Path

from research_assets.compliance.forget import remove_items
from research_assets.settings import VARIABLES, Settings
from research_assets_tests.workers import kill_at_disk_operation

NEVER = 10**9
"""A step that no removal reaches."""

AT = datetime(2026, 6, 2, tzinfo=UTC)
"""Time of the removals."""


def main() -> None:
    """Remove a video and an account from a data folder: `root step video handle`; prints the number of operations."""
    root, step, video, handle = sys.argv[1:]
    settings = Settings.from_env(
        {VARIABLES["root"].name: str(Path(root)), VARIABLES["api_url"].name: "http://127.0.0.1:9"}
    )
    remaining = kill_at_disk_operation(int(step))
    remove_items(settings, lambda: AT, videos=[int(video)], handles=[handle])
    sys.stdout.write(f"ended {int(step) - remaining[0]}\n")


if __name__ == "__main__":
    main()
