"""The marts into `Facts`: every number of a report comes from here, none is made up elsewhere.

The published warehouse is opened read-only, for as long as the queries take. It may have been built by another version
of the project; a mart that it lacks is an error that says so, but for those that the report can do without.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import duckdb

from research_assets.reading import WarehouseReadError, connect_read_only, sql_identifier, read_marts, require_warehouse
from research_assets.report import MARTS, sql
from research_assets.report.chart import MOST_DAYS
from research_assets.report.facts import (
    Bin,
    Day,
    Degree,
    Distribution,
    Drawn,
    Endpoint,
    Epoch,
    Facts,
    Filled,
    Gap,
    Look,
    Observed,
    Overall,
    Ranked,
    Spent,
    Units,
)
from research_assets.settings import Settings

TOP = 20
"""Hashtags and creators in a ranking."""


def read_facts(settings: Settings, study: str) -> Facts:
    """All that is told of a study. Raises ReadingError without a warehouse, or if it lacks a mart."""
    require_warehouse(settings)
    with connect_read_only(settings.warehouse) as connection:
        return _Reader(connection, study).facts(built_at(settings))


def built_at(settings: Settings) -> datetime:
    """When the marts were published."""
    return datetime.fromtimestamp(settings.warehouse.stat().st_mtime, UTC)


class _Reader:
    """Queries about one study on one open connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, study: str) -> None:
        self._connection, self._study = connection, study
        self._marts = read_marts(connection)
        if lacking := [mart for mart in MARTS if mart not in self._marts]:
            raise WarehouseReadError(
                f"The report on {study} cannot be written: the published warehouse has no mart {', '.join(lacking)}. "
                "It was built by another version; build it anew by materializing the group warehouse."
            )

    def _rows(self, query: str, **more: Any) -> list[tuple[Any, ...]]:
        # DuckDB refuses values for names that the query does not use.
        values = {name: value for name, value in ({"study": self._study} | more).items() if f"${name}" in query}
        return self._connection.execute(query, values).fetchall()

    def facts(self, built: datetime) -> Facts:
        units = [Units(*row) for row in self._rows(sql.UNITS)]
        days = [Day(*row) for row in self._rows(sql.DAYS)]
        [(n_hashtags,)] = self._rows(sql.N_HASHTAGS)
        [(top_share,)] = self._rows(sql.TOP_SHARE)
        [seen] = self._rows(
            "select min(observed_at), max(observed_at) from marts.video_observations where study = $study"
        )
        weekly = seen[0] is not None and (seen[1] - seen[0]).days > MOST_DAYS
        return Facts(
            built_at=built,
            overall=Overall(*self._rows(sql.OVERALL)[0]),
            days=days,
            units=units,
            gaps=[Gap(*row) for row in self._rows(sql.GAPS)],
            spent=[Spent(*row) for row in self._rows(sql.SPENT)],
            endpoints=[Endpoint(*row) for row in self._rows(sql.ENDPOINTS)],
            hashtags=[Ranked(*row) for row in self._rows(sql.HASHTAGS, top=TOP)],
            n_hashtags=n_hashtags,
            creators=[Ranked(*row) for row in self._rows(sql.CREATORS, top=TOP)],
            top_share=top_share,
            engagement=[
                self._distribution(
                    name, f"select {name.lower()[:-1]}_count as x from marts.videos where study = $study"
                )
                for name in ("Views", "Likes", "Comments", "Shares")
            ],
            threads=[
                self._distribution("Comments held of a video", sql.COMMENTS_OF_VIDEO, "videos"),
                self._distribution("Replies held to a comment", sql.REPLIES_TO_COMMENT, "comments"),
            ],
            depths=[(depth, number) for depth, number in self._rows(sql.DEPTHS)],
            degrees=[Degree(*row) for row in self._rows(sql.DEGREES)],
            looks=[Look(*row) for row in self._rows(sql.LOOKS)],
            ages=[
                self._distribution("Age of the video when counted, days", sql.AGE_WHEN_COUNTED, linear=True),
                self._distribution("Age of the counts, days", sql.AGE_OF_COUNTS, linear=True, built=built),
            ],
            seen=seen,
            observations=[(times, videos) for times, videos in self._rows(sql.OBSERVATIONS)],
            observed=[Observed(*row) for row in self._rows(sql.OBSERVED.format(unit="week" if weekly else "day"))],
            observed_step=7 if weekly else 1,
            epochs=self._epochs(days, units, seen),
            drawn=[Drawn(*row) for row in self._rows(sql.DRAWN)],
            filled=self._filled(),
        )

    def _distribution(
        self, name: str, relation: str, unit: str = "videos", *, linear: bool = False, **more: Any
    ) -> Distribution:
        """The distribution of column `x` of a query; in bins 1, 2, 5, 10, 20, ... or of equal width."""
        [counts] = self._rows(sql.SPREAD.format(relation=relation), **more)
        if linear:
            least, most = counts[6], counts[7]
            width = _width((most or 0) - (least or 0))
            grouped = self._rows(sql.EQUAL_BINS.format(relation=relation), width=width, **more)
            bins = [Bin(low, low + width, number) for low, number in grouped]
            counts = (counts[0], counts[1], 0, *counts[3:])
        else:
            bins = [Bin(*row) for row in self._rows(sql.LOG_BINS.format(relation=relation), **more)]
        number, absent, zeros, quartile, median, upper, _, most = counts
        return Distribution(name, unit, number, absent, zeros, bins, quartile, median, upper, most)

    def _filled(self) -> list[Filled]:
        """The columns of the videos as the study fills them; the codebook knows since when the API has them."""
        columns = self._marts["videos"].columns
        counts = ", ".join(f"count({sql_identifier(column.name)})" for column in columns)
        [filled] = self._rows(f"select {counts} from marts.videos where study = $study")
        since = dict(self._rows(sql.SINCE)) if "codebook" in self._marts else {}
        return [
            Filled(column.name, column.description, number, since.get(column.name))
            for column, number in zip(columns, filled, strict=True)
        ]

    def _epochs(self, days: Sequence[Day], units: Sequence[Units], seen: Sequence[datetime | None]) -> list[Epoch]:
        """The breaks that touch the days of the study, or the time in which it was asked."""
        if "epochs" not in self._marts:
            return []
        moments = [*seen, *(moment for unit in units for moment in (unit.first_at, unit.last_at))]
        asked = [moment.date() for moment in moments if moment]
        touched: dict[str, Sequence[date]] = {"published": [day.day for day in days], "observed": asked}
        epochs = [Epoch(*row) for row in self._rows(sql.EPOCHS)]
        return [epoch for epoch in epochs if (of := touched[epoch.clock]) and epoch.touches(min(of), max(of))]


def _width(spread: float) -> float:
    """A round width that gives about twenty bins, at least one day wide."""
    for exponent in range(6):
        for digit in (1, 2, 5):
            if spread / (digit * 10**exponent) <= 20:
                return float(digit * 10**exponent)
    return 1e6
