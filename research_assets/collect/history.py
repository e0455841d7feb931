"""What work has cost so far, read from raw/coverage: the ground for what the same work will cost again."""

from pathlib import Path

from research_assets.collect.lookup import RawTables, query_raw


def mean_comment_requests_per_day(raw: Path | RawTables) -> dict[str, float]:
    """Requests for the comments of a day on average, by study, over the days that were asked."""
    rows = query_raw(
        raw,
        "coverage",
        "study=*/day=*",
        "SELECT study, sum(requests) / count(DISTINCT partition) FROM {table} WHERE entity = 'comments' GROUP BY study",
    )
    return {study: float(mean) for study, mean in rows}


def reply_request_ratio(raw: Path | RawTables, study: str) -> float:
    """Requests for replies on each request for top-level comments, as they were in a study so far."""
    [(ratio,)] = query_raw(
        raw,
        "coverage",
        f"study={study}/day=*",
        """
        SELECT sum(requests) FILTER (unit_kind = 'comment') / nullif(sum(requests) FILTER (unit_kind = 'video'), 0)
        FROM {table} WHERE entity = 'comments'
        """,
    ) or [(None,)]
    return float(ratio or 0.0)


def mean_requests_per_list(raw: Path | RawTables, entity: str) -> float | None:
    """Requests that a list of an entity took on average, over all studies; None if none was ever complete."""
    [(mean,)] = query_raw(
        raw,
        "coverage",
        "study=*/day=*",
        "SELECT avg(requests) FROM {table} WHERE entity = ? AND state = 'complete' AND requests > 0",
        [entity],
    ) or [(None,)]
    return None if mean is None else float(mean)


def max_requests_per_period(raw: Path | RawTables) -> dict[tuple[str, str], float]:
    """Requests that the costliest period of an entity of accounts took so far, by study and entity."""
    rows = query_raw(
        raw,
        "coverage",
        "study=*/day=*",
        """
        SELECT study, entity, max(cost) FROM (
            SELECT study, entity, partition, sum(requests) AS cost
            FROM {table} WHERE unit_kind = 'account' GROUP BY study, entity, partition
        ) GROUP BY study, entity
        """,
    )
    return {(study, entity): float(cost) for study, entity, cost in rows}
