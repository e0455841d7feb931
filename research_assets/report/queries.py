"""The marts into `Facts`: every number of a report comes from here, none is made up elsewhere.

The published warehouse is opened read-only, for as long as the queries take. It may have been built by another version
of the project; a mart that it lacks is an error that says so, but for those that the report can do without.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import duckdb

from research_assets.reading import WarehouseReadError, connect_read_only, read_marts, require_warehouse, sql_identifier
from research_assets.report import REQUIRED_MARTS, sql
from research_assets.report.chart import MAX_DAYS
from research_assets.report.facts import (
    ApiChange,
    Bin,
    ColumnFill,
    DailyObservations,
    DailyRequests,
    DegreeShare,
    Distribution,
    EndpointRequests,
    FollowList,
    MissingUnits,
    RankedItem,
    ReportData,
    SampledUnits,
    StudyDay,
    StudyTotals,
    UnitGroup,
)
from research_assets.settings import Settings

TOP_N = 20
"""Hashtags and creators in a ranking."""


def read_report_data(settings: Settings, study: str) -> ReportData:
    """All that is told of a study. Raises ReadingError without a warehouse, or if it lacks a mart."""
    require_warehouse(settings)
    with connect_read_only(settings.warehouse) as connection:
        return _Reader(connection, study).read(published_at(settings))


def published_at(settings: Settings) -> datetime:
    """When the marts were published."""
    return datetime.fromtimestamp(settings.warehouse.stat().st_mtime, UTC)


class _Reader:
    """Queries about one study on one open connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, study: str) -> None:
        self._connection, self._study = connection, study
        self._marts = read_marts(connection)
        if lacking := [mart for mart in REQUIRED_MARTS if mart not in self._marts]:
            raise WarehouseReadError(
                f"The report on {study} cannot be written: the published warehouse has no mart {', '.join(lacking)}. "
                "It was built by another version; build it anew by materializing the group warehouse."
            )

    def _rows(self, query: str, **more: Any) -> list[tuple[Any, ...]]:
        # DuckDB refuses values for names that the query does not use.
        values = {name: value for name, value in ({"study": self._study} | more).items() if f"${name}" in query}
        return self._connection.execute(query, values).fetchall()

    def read(self, built: datetime) -> ReportData:
        units = [UnitGroup(*row) for row in self._rows(sql.UNITS_SQL)]
        days = [StudyDay(*row) for row in self._rows(sql.DAYS_SQL)]
        [(n_hashtags,)] = self._rows(sql.N_HASHTAGS_SQL)
        [(top_share,)] = self._rows(sql.TOP_SHARE_SQL)
        [seen] = self._rows(
            "select min(observed_at), max(observed_at) from marts.video_observations where study = $study"
        )
        weekly = seen[0] is not None and (seen[1] - seen[0]).days > MAX_DAYS
        return ReportData(
            built_at=built,
            overall=StudyTotals(*self._rows(sql.TOTALS_SQL)[0]),
            days=days,
            units=units,
            gaps=[MissingUnits(*row) for row in self._rows(sql.MISSING_UNITS_SQL)],
            daily_requests=[DailyRequests(*row) for row in self._rows(sql.DAILY_REQUESTS_SQL)],
            endpoints=[EndpointRequests(*row) for row in self._rows(sql.ENDPOINTS_SQL)],
            hashtags=[RankedItem(*row) for row in self._rows(sql.HASHTAGS_SQL, top=TOP_N)],
            n_hashtags=n_hashtags,
            creators=[RankedItem(*row) for row in self._rows(sql.CREATORS_SQL, top=TOP_N)],
            top_share=top_share,
            engagement=[
                self._distribution(
                    name, f"select {name.lower()[:-1]}_count as x from marts.videos where study = $study"
                )
                for name in ("Views", "Likes", "Comments", "Shares")
            ],
            threads=[
                self._distribution("Comments held of a video", sql.COMMENTS_PER_VIDEO_SQL, "videos"),
                self._distribution("Replies held to a comment", sql.REPLIES_PER_COMMENT_SQL, "comments"),
            ],
            depths=[(depth, number) for depth, number in self._rows(sql.DEPTHS_SQL)],
            degrees=[DegreeShare(*row) for row in self._rows(sql.DEGREES_SQL)],
            follow_lists=[FollowList(*row) for row in self._rows(sql.FOLLOW_LISTS_SQL)],
            ages=[
                self._distribution("Age of the video when counted, days", sql.AGE_AT_OBSERVATION_SQL, linear=True),
                self._distribution("Age of the counts, days", sql.DATA_AGE_SQL, linear=True, built=built),
            ],
            observed_range=seen,
            observations=[(times, videos) for times, videos in self._rows(sql.OBSERVATIONS_SQL)],
            observed=[
                DailyObservations(*row)
                for row in self._rows(sql.DAILY_OBSERVATIONS_SQL.format(unit="week" if weekly else "day"))
            ],
            observed_step=7 if weekly else 1,
            api_changes=self._epochs(days, units, seen),
            sampled=[SampledUnits(*row) for row in self._rows(sql.SAMPLED_SQL)],
            column_fill=self._filled(),
        )

    def _distribution(
        self, name: str, relation: str, unit: str = "videos", *, linear: bool = False, **more: Any
    ) -> Distribution:
        """The distribution of column `x` of a query; in bins 1, 2, 5, 10, 20, ... or of equal width."""
        [counts] = self._rows(sql.QUARTILES_SQL.format(relation=relation), **more)
        if linear:
            least, most = counts[6], counts[7]
            width = _bin_width((most or 0) - (least or 0))
            grouped = self._rows(sql.EQUAL_BINS_SQL.format(relation=relation), width=width, **more)
            bins = [Bin(low, low + width, number) for low, number in grouped]
            counts = (counts[0], counts[1], 0, *counts[3:])
        else:
            bins = [Bin(*row) for row in self._rows(sql.LOG_BINS_SQL.format(relation=relation), **more)]
        number, absent, zeros, quartile, median, upper, _, most = counts
        return Distribution(name, unit, number, absent, zeros, bins, quartile, median, upper, most)

    def _filled(self) -> list[ColumnFill]:
        """The columns of the videos as the study fills them; the codebook knows since when the API has them."""
        columns = self._marts["videos"].columns
        counts = ", ".join(f"count({sql_identifier(column.name)})" for column in columns)
        [filled] = self._rows(f"select {counts} from marts.videos where study = $study")
        since = dict(self._rows(sql.AVAILABLE_SINCE_SQL)) if "codebook" in self._marts else {}
        return [
            ColumnFill(column.name, column.description, number, since.get(column.name))
            for column, number in zip(columns, filled, strict=True)
        ]

    def _epochs(
        self, days: Sequence[StudyDay], units: Sequence[UnitGroup], seen: Sequence[datetime | None]
    ) -> list[ApiChange]:
        """The breaks that touch the days of the study, or the time in which it was asked."""
        if "epochs" not in self._marts:
            return []
        moments = [*seen, *(moment for unit in units for moment in (unit.first_at, unit.last_at))]
        asked = [moment.date() for moment in moments if moment]
        touched: dict[str, Sequence[date]] = {"published": [day.day for day in days], "observed": asked}
        epochs = [ApiChange(*row) for row in self._rows(sql.API_CHANGES_SQL)]
        return [epoch for epoch in epochs if (of := touched[epoch.date_basis]) and epoch.affects(min(of), max(of))]


def _bin_width(spread: float) -> float:
    """A round width that gives about twenty bins, at least one day wide."""
    for exponent in range(6):
        for digit in (1, 2, 5):
            if spread / (digit * 10**exponent) <= 20:
                return float(digit * 10**exponent)
    return 1e6
