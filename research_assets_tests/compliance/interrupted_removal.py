"""A removal in a process of its own that kills itself at its n-th operation on the disk; run with arguments."""

import sys
from datetime import UTC, datetime
from pathlib import Path

from research_assets.compliance.forget import remove_items
from research_assets.settings import VARIABLES, Settings
from research_assets_tests.workers import kill_at_disk_operation


def main() -> None:
    """Remove a video or an account from a data folder: `root step video handle`; step -1 does not kill."""
    root, step, video, handle = sys.argv[1:]
    settings = Settings.from_env(
        {VARIABLES["root"].name: str(Path(root)), VARIABLES["api_url"].name: "http://127.0.0.1:9"}
    )
    if int(step) >= 0:
        kill_at_disk_operation(int(step))
    remove_items(settings, lambda: datetime(2026, 6, 2, tzinfo=UTC), videos=[int(video)], handles=[handle])
    sys.stdout.write("ended\n")


if __name__ == "__main__":
    main()
