"""The asset of a study's export: a folder of files for people, made anew from the published marts.

What stands in it is the business of the package `export`, which is imported when an export is made.
"""

from collections.abc import Collection

import dagster as dg
from pydantic import Field

from research_assets.clock import Clock, SystemClock
from research_assets.settings import Settings
from research_assets.study.spec import StudySpec

DESCRIPTION = """Export: the marts of the study {study} as files for people, with a codebook and a README: Parquet
with all types, CSV that Excel and R read without spoiling an id, Stata; whole, pseudonymous, or only ids.

**Where:** a new folder below `{exports}` each time. **What:** everything, as Parquet and CSV; *Open launchpad*, below
the arrow beside *Materialize*, asks for other formats, marts, days and pseudonyms. In a terminal:
`research-assets export {study}`.

**Cost:** no request, but disk space for each copy. It is made when somebody asks for it, never by itself."""


class ExportConfig(dg.Config):
    """What the Launchpad asks for; empty means all."""

    formats: list[str] = Field(["parquet", "csv"], description="Of parquet, csv, stata")
    marts: list[str] = Field([], description="Names of marts")
    first: str = Field("", description="First UTC day, such as 2026-02-01")
    last: str = Field("", description="Last UTC day, included")
    pseudonymous: bool = Field(False, description="Keyed pseudonyms for accounts and ids; what points to people goes")
    ids_only: bool = Field(False, description="Only the ids of videos and comments, to be rebuilt by a colleague")


def export_asset(
    study: StudySpec, settings: Settings, marts: Collection[dg.AssetKey], *, clock: Clock | None = None
) -> dg.AssetsDefinition:
    """`<study>/export`, after all `marts`."""
    present = clock or SystemClock()

    @dg.asset(
        key=dg.AssetKey([study.name, "export"]),
        group_name=study.name,
        kinds={"parquet", "csv"},
        deps=[key for key in marts if key.path[0] == "marts"],
        description=DESCRIPTION.format(study=study.name, exports=settings.exports),
    )
    def export(config: ExportConfig) -> dg.MaterializeResult[None]:
        """Made from the marts that are published."""
        from research_assets.export import ExportError, ExportRequest, export
        from research_assets.warehouse.reader import WarehouseReadError, parse_day

        try:
            request = ExportRequest(
                studies=(study.name,),
                marts=tuple(config.marts),
                first=parse_day(config.first or None),
                last=parse_day(config.last or None),
                formats=tuple(config.formats),
                pseudonymous=config.pseudonymous,
                ids_only=config.ids_only,
            )
            made = export(settings, request, [study], present.now())
        except (ExportError, WarehouseReadError) as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        rows = "\n".join(f"| {name} | {number:,} |" for name, number in made.rows.items())
        left = [f"{', '.join(names)}: {reason}" for reason, names in made.skipped_by_reason.items()]
        return dg.MaterializeResult(
            metadata={
                "folder": dg.MetadataValue.path(made.folder),
                "tables": dg.MetadataValue.md(f"| table | rows |\n| --- | ---: |\n{rows}"),
                "rows": sum(made.rows.values()),
                "size (bytes)": sum(file.bytes for file in made.files),
                **({"skipped": "; ".join(left)} if left else {}),
            }
        )

    return export
