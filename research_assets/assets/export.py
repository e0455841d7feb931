"""The Dagster asset `<study>/export`, which writes a study's marts as files.

Not here: the contents of an export (see export/). That package is imported when an export is written.
"""

from collections.abc import Collection

import dagster as dg
from pydantic import Field

from research_assets.assets.dbt_specs import is_mart
from research_assets.assets.simulated import SIMULATED, simulated_kind, simulated_note
from research_assets.clock import Clock, SystemClock
from research_assets.resources import PublishedWarehouse
from research_assets.settings import Settings
from research_assets.study.spec import StudySpec

DESCRIPTION = """Files of the study's marts: Parquet, CSV, Stata or SPSS, with a codebook and a README.

{simulated}An export is complete, pseudonymous, coarse, or only ids. In CSV, Stata and SPSS files ids are text, because
Excel, R, Stata and SPSS would round them.

**Folder:** a new folder below `{exports}` for each run. Without configuration it contains all marts as Parquet and CSV.
To choose formats, marts, days or pseudonyms, open the menu next to *Materialize* and select *Open launchpad*, or run
`research-assets export {study}` in a terminal.

**Partition:** none; an export covers all days of the study unless the configuration names days.

**Cost:** no request; disk space for each export. No sensor or schedule runs it.

**Re-run:** writes another folder; earlier exports remain."""
"""Description of the asset; placeholders are filled by `export_asset`."""


class ExportConfig(dg.Config):
    """Run configuration of an export. Empty lists and days mean all."""

    formats: list[str] = Field(
        ["parquet", "csv"], description="Formats: parquet, csv, stata, spss; networks: graphml, gexf, gephi, coortweet"
    )
    marts: list[str] = Field([], description="Names of marts; empty for all")
    first: str = Field("", description="First UTC day, such as 2026-02-01; empty for no limit")
    last: str = Field("", description="Last UTC day, inclusive; empty for no limit")
    pseudonymous: bool = Field(
        False, description="Replace accounts and ids with keyed pseudonyms; drop identifying columns"
    )
    coarse: bool = Field(
        False, description="Release days, rounded numbers and no small cells under new pseudonyms, with a report"
    )
    texts: bool = Field(False, description="Keep the texts of a coarse release")
    ids_only: bool = Field(False, description="Export only the ids of videos and comments, for rehydration")


def export_asset(
    study: StudySpec, settings: Settings, marts: Collection[dg.AssetKey], *, clock: Clock | None = None
) -> dg.AssetsDefinition:
    """Return the asset `<study>/export`, which depends on all `marts`."""
    now = (clock or SystemClock()).now

    @dg.asset(
        key=dg.AssetKey([study.name, "export"]),
        group_name=f"results/{study.name}",
        owners=list(study.owners) or None,
        kinds={"parquet", *(simulated_kind(settings) or {"csv"})},
        deps=[key for key in marts if is_mart(key)],
        description=DESCRIPTION.format(simulated=simulated_note(settings), study=study.name, exports=settings.exports),
    )
    def export(config: ExportConfig, warehouse: PublishedWarehouse) -> dg.MaterializeResult[None]:
        """Write the export from the published marts."""
        from research_assets.compliance.audit_log import export_command, record_command
        from research_assets.export import ExportError, ExportRequest, export
        from research_assets.warehouse.reader import WarehouseReadError, is_simulated, parse_day, read_marts

        try:
            request = ExportRequest(
                studies=(study.name,),
                marts=tuple(config.marts),
                first=parse_day(config.first or None),
                last=parse_day(config.last or None),
                formats=tuple(config.formats),
                pseudonymous=config.pseudonymous,
                ids_only=config.ids_only,
                coarse=config.coarse,
                texts=config.texts,
            )
            result = export(settings, request, [study], now())
            record_command(settings, export_command(result.folder.name), now())
            with warehouse.get_connection() as connection:
                published = read_marts(connection)
        except (ExportError, WarehouseReadError) as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        rows = "\n".join(f"| {name} | {number:,} |" for name, number in result.rows.items())
        skipped = [f"{', '.join(names)}: {reason}" for reason, names in result.skipped_by_reason.items()]
        return dg.MaterializeResult(
            metadata={
                "folder": dg.MetadataValue.path(result.folder),
                "tables": dg.MetadataValue.md(f"| table | rows |\n| --- | ---: |\n{rows}"),
                "rows": sum(result.rows.values()),
                "size (bytes)": sum(file.bytes for file in result.files),
                "marts": len(published),
                **({"origin of the data": SIMULATED} if is_simulated(settings) else {}),
                **({"skipped": "; ".join(skipped)} if skipped else {}),
            }
        )

    return export
