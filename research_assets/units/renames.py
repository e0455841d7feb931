"""The present handles of renamed panel accounts, for studies with `follow_renames`.

A panel account is followed if its newest profile is missing, and a video that had its handle has another one now. Reads
the raw tables and sends no request. Not here: the search for videos of missing accounts (see
collect/lists/missing_accounts.py).
"""

from datetime import date
from pathlib import Path

from research_assets.storage.raw_reader import RawTables, query_raw
from research_assets.study.spec import StudySpec


def present_handles(
    raw: Path | RawTables, study: StudySpec, entity: str | None = None, period: date | None = None
) -> dict[str, str]:
    """Return the present handles of renamed panel accounts by the one in the study file, in lower case.

    With an entity and a period those are left out that were observed in it under the old handle, so that nothing is
    requested under both. Empty for a study that does not follow renames.
    """
    if not study.follow_renames:
        return {}
    folders = f"study={study.name}/day=*"
    missing = query_raw(
        raw,
        "coverage",
        folders,
        "SELECT lower(unit) FROM {table} WHERE entity = 'users' AND lower(unit) IN (SELECT unnest(?::VARCHAR[])) "
        "GROUP BY lower(unit) HAVING max_by(state, last_at) = 'missing'",
        [sorted({name.lower() for name in study.panel})],
    )
    if not missing:
        return {}
    renamed = query_raw(
        raw,
        "videos",
        folders,
        # A video that always had the same handle may be one of another account, which took the handle later.
        """
        WITH named AS (SELECT id, username, lower(username) AS handle, observed_at FROM {table} WHERE username <> ''),
        moved AS (SELECT id FROM named GROUP BY id HAVING count(DISTINCT handle) > 1),
        former AS (SELECT DISTINCT id, handle FROM named WHERE handle IN (SELECT unnest(?::VARCHAR[])))
        SELECT former.handle, max_by(named.username, named.observed_at)
        FROM former JOIN moved USING (id) JOIN named USING (id)
        GROUP BY former.handle HAVING lower(max_by(named.username, named.observed_at)) <> former.handle
        """,
        [[handle for (handle,) in missing]],
    )
    handles = dict(renamed)
    if not handles or entity is None or period is None:
        return handles
    observed = query_raw(
        raw,
        "coverage",
        folders,
        "SELECT DISTINCT lower(unit) FROM {table} WHERE entity = ? AND partition = ? "
        "AND state NOT IN ('missing', 'not_asked')",
        [entity, period],
    )
    for (handle,) in observed:
        handles.pop(handle, None)
    return handles
