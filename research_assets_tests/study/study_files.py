"""Study files for tests, and a function that writes them."""

from pathlib import Path
from textwrap import dedent, indent

HEADER = """\
type: research_assets.Study
attributes:
"""

MINIMAL_STUDY = """\
name: gardening
start: 2026-02-01
query:
  and:
    - {field: hashtag_name, eq: gardening}
"""

FULL_STUDY = """\
name: gardening
start: 2026-02-01
end: 2026-02-28
days: {sample: 0.2, by: [month, weekday], seed: 7}
settle_days: 2
reobserve_days: [30, 10]
repeat: 0.05
query:
  and:
    - {field: region_code, in: [DE, AT]}
    - {field: hashtag_name, eq: gardening}
  not:
    - {field: video_length, eq: SHORT}
comments: {videos: sample, fraction: 0.1, seed: 7}
users: {who: top, n: 200}
panel: {usernames: [beet.und.balkon, "@moosfreund"], file: panel.csv}
observe: daily
quota_weight: 2
fields:
  videos: [id, create_time, username, comment_count]
"""


def write(folder: Path, attributes: str) -> Path:
    """Write a study file into a folder, which may be new. The attributes begin on line 3."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "defs.yaml"
    file.write_text(HEADER + indent(dedent(attributes), "  "))
    return file
