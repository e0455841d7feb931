"""The report: one HTML file per study that says what is held of it, what is not, and what a paper must state.

Reads the published warehouse and nothing else; writes one file below `reports/`. The file stands for itself: no
script, no request, no font from elsewhere, so that it can be mailed, printed and opened in twenty years. No Dagster:
the asset that shows a report in the UI is `assets/report.py`. Altair, vl-convert and Jinja are imported where a
report is drawn, not before.
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
    "coverage",
    "quota_usage",
)
"""Marts that a report is made of."""

OPTIONAL_MARTS = ("api_changes", "codebook")
"""Marts that it does without in a warehouse that lacks them."""
