"""Exit codes of `research-assets collect`; docs/running.md explains them for cron and systemd."""

DONE = 0
"""All that is due is collected."""

FAILED = 1
"""A run or a build failed."""

PAUSED = 3
"""Work remains that cannot be done now: no quota or budget is left, another run collects, or a signal was received."""
