"""The report of a study: one HTML file with volume, coverage, quota usage, content and a methods section.

The package reads the published warehouse and writes files below `reports/`. A report is self-contained: it loads no
script, font or picture, so it can be mailed, printed and opened without a network. Altair, vl-convert and Jinja are
imported when a report is drawn, because importing them takes about a second.
Not here: the Dagster asset (see assets/report.py), the command (see cli/report.py).
"""

REQUIRED_MARTS = (
    "videos",
    "video_observations",
    "comments",
    "users",
    "follows",
    "engagements",
    "hashtags",
    "creators",
    "study_days",
    "observation_rounds",
    "coverage",
    "quota_usage",
    "rejected_rows",
    "population",
    "repeatability",
    "verification",
    "withdrawals",
)
"""Marts that a report reads."""

OPTIONAL_MARTS = ("api_changes", "codebook")
"""Marts that a report reads if the warehouse has them."""
