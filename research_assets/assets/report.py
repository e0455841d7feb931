"""The Dagster asset `<study>/report`, which writes a study's report and the codebook from the published marts.

Not here: the contents of a report (see report/). That package is imported when a report is written, because its
drawing libraries take about a second to import.
"""

import base64
from collections.abc import Collection, Mapping
from pathlib import Path

import dagster as dg
from pydantic import Field

from research_assets.assets.dbt_specs import is_mart
from research_assets.assets.simulated import SIMULATED, simulated_kind, simulated_note
from research_assets.clock import Clock, SystemClock
from research_assets.report import OPTIONAL_MARTS, REQUIRED_MARTS
from research_assets.report.paths import page_address, report_path
from research_assets.resources import PublishedWarehouse
from research_assets.settings import Settings
from research_assets.study.spec import StudySpec

DESCRIPTION = """Report of the study as one HTML file, with the codebook of all marts next to it.

{simulated}The report contains volume by day, observations over time, coverage, quota usage, hashtags, creators,
engagement, comment threads, the follow graph, the age at observation, and a methods section for a paper. The codebook
describes every column of the marts, with its source and its monthly fill rate. Both files work without a network and
can be printed. Accounts have numbers instead of handles, unless the run config sets `handles`.

**File:** `{path}`. {opening}

**Partition:** none; a report covers all days of the study.

**Cost:** no request.

**Re-run:** replaces both files with the contents of the marts at that time."""
"""Description of the asset; placeholders are filled by `report_asset`."""


class ReportConfig(dg.Config):
    """Run configuration of a report."""

    handles: bool = Field(False, description="Show the handles of accounts instead of numbers")


def report_asset(
    study: StudySpec, settings: Settings, marts: Collection[dg.AssetKey], *, clock: Clock | None = None
) -> dg.AssetsDefinition:
    """Return the asset `<study>/report`, which depends on the `marts` that a report reads."""
    now = (clock or SystemClock()).now
    path = report_path(settings, study.name)
    address = page_address(settings, path)
    opening = (
        f"[Open it]({address})."
        if address
        else f"Open it from a terminal with `research-assets report --open {study.name}`; browsers do not follow links "
        "from this page to files."
    )

    @dg.asset(
        key=dg.AssetKey([study.name, "report"]),
        group_name=f"results/{study.name}",
        owners=list(study.owners) or None,
        kinds={"html", *simulated_kind(settings)},
        deps=[key for key in marts if is_mart(key) and key.path[-1] in {*REQUIRED_MARTS, *OPTIONAL_MARTS}],
        description=DESCRIPTION.format(
            simulated=simulated_note(settings),
            study=study.name,
            path=path,
            opening=opening,
        ),
        metadata={"open": dg.MetadataValue.url(address)} if address else None,
    )
    def report(
        context: dg.AssetExecutionContext, config: ReportConfig, warehouse: PublishedWarehouse
    ) -> dg.MaterializeResult[None]:
        """Write the report from the published marts."""
        from research_assets.report.write import write_report
        from research_assets.warehouse.reader import WarehouseReadError, is_simulated, read_marts

        try:
            written = write_report(settings, study, now(), handles=config.handles)
            with warehouse.get_connection() as connection:
                published = read_marts(connection)
        except WarehouseReadError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        if written.problems:
            context.log.warning("The report has no chart %s", _problems_text(written.problems))
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
                "marts": len(published),
                **({"origin of the data": SIMULATED} if is_simulated(settings) else {}),
                **_inline_pictures(written.pictures),
                **({"charts not drawn": _problems_text(written.problems)} if written.problems else {}),
            }
        )

    return report


def _problems_text(problems: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {problem}" for name, problem in problems.items())


def _codebook(path: Path | None, address: str) -> dict[str, dg.UrlMetadataValue | dg.PathMetadataValue]:
    """Return the address of the codebook below that of the reports, or its path; empty without a codebook."""
    if path is None:
        return {}
    return {"codebook": dg.MetadataValue.url(f"{address}/{path.name}") if address else dg.MetadataValue.path(path)}


def _inline_pictures(pictures: Mapping[str, bytes]) -> dict[str, dg.MarkdownMetadataValue]:
    """Return pictures as Markdown, which Dagster's UI shows after a click on the metadata entry."""
    return {
        name: dg.MetadataValue.md(f"![{name}](data:image/png;base64,{base64.b64encode(picture).decode()})")
        for name, picture in pictures.items()
    }
