"""The asset of a study's report: one HTML file, written anew from the published marts, and the codebook beside it.

What stands in it is the business of the package `report`, which is imported when a report is written.
"""

import base64
from collections.abc import Collection, Mapping
from pathlib import Path

import dagster as dg

from research_assets.clock import Clock, SystemClock
from research_assets.report import OPTIONAL_MARTS, REQUIRED_MARTS
from research_assets.settings import Settings
from research_assets.study.spec import StudySpec

DESCRIPTION = """Report: one HTML file about the study {study}: volume by day with gaps, coverage, quota, hashtags,
creators, engagement, comment threads, the follow graph, the age of counts, and the methods that a paper must state.
It needs no network and no script, and prints. Beside it stands the codebook of all marts: every column, what it means,
where it comes from, and how often it is filled, by month.

**Where:** `{path}`. {opening}

**Cost:** no request. **Again:** the report is replaced by one of the marts as they are then."""


def report_asset(
    study: StudySpec, settings: Settings, marts: Collection[dg.AssetKey], *, clock: Clock | None = None
) -> dg.AssetsDefinition:
    """`<study>/report`, after those of the `marts` that it reads."""
    present = clock or SystemClock()
    address = f"{settings.reports_url}/{study.name}.html" if settings.reports_url else None
    opening = (
        f"[Open it]({address})."
        if address
        else f"It opens from a terminal: `research-assets report --open {study.name}`; a browser does not follow links "
        "from this page to files."
    )

    @dg.asset(
        key=dg.AssetKey([study.name, "report"]),
        group_name=study.name,
        kinds={"html"},
        deps=[key for key in marts if key.path[0] == "marts" and key.path[-1] in {*REQUIRED_MARTS, *OPTIONAL_MARTS}],
        description=DESCRIPTION.format(study=study.name, path=settings.reports / f"{study.name}.html", opening=opening),
        metadata={"open": dg.MetadataValue.url(address)} if address else None,
    )
    def report() -> dg.MaterializeResult[None]:
        """Written from the marts that are published."""
        from research_assets.report.write import write_report
        from research_assets.warehouse.reader import WarehouseReadError

        try:
            written = write_report(settings, study, present.now())
        except WarehouseReadError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        data = written.data
        complete = sum(day.state == "complete" for day in data.days)
        return dg.MaterializeResult(
            metadata={
                **({"open": dg.MetadataValue.url(address)} if address else {}),
                "file": dg.MetadataValue.path(written.path),
                **_codebook(written.codebook, settings.reports_url),
                "size (bytes)": written.path.stat().st_size,
                "marts published at": dg.MetadataValue.timestamp(data.built_at),
                "videos": data.overall.videos,
                "days": len(data.days),
                "complete days": complete,
                **_inline_pictures(written.pictures),
            }
        )

    return report


def _codebook(path: Path | None, address: str) -> dict[str, dg.UrlMetadataValue | dg.PathMetadataValue]:
    """Where the codebook is, if there is one: under the address of the reports, or on the disk."""
    if path is None:
        return {}
    return {"codebook": dg.MetadataValue.url(f"{address}/{path.name}") if address else dg.MetadataValue.path(path)}


def _inline_pictures(pictures: Mapping[str, bytes]) -> dict[str, dg.MarkdownMetadataValue]:
    """Pictures for the page of the asset, which shows them behind a click."""
    return {
        name: dg.MetadataValue.md(f"![{name}](data:image/png;base64,{base64.b64encode(picture).decode()})")
        for name, picture in pictures.items()
    }
