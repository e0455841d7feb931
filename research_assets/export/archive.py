"""The descriptions of an export for repositories and archives, beside its tables.

`datapackage.json` (Frictionless Data Package), `ro-crate-metadata.json` (RO-Crate 1.1), `CITATION.cff`, `ddi.xml`
(DDI-Codebook 2.5), `DATA_STATEMENT.md`, and `SHA256SUMS` of all files. They describe columns and contain no value of a
row and no query, so a removal changes their numbers alone.
Not here: the README with the queries (see readme.py), the elements of DDI (see ddi.py).
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from research_assets.export import columns
from research_assets.export.coding import draw_note
from research_assets.export.contents import CoverageCount, Retrieval, software_version
from research_assets.export.ddi import StudyText, ddi_xml, updated_ddi
from research_assets.export.readme import FORMAT_NOTES, TERMS_NOTE, describe_days, describe_removals
from research_assets.export.request import NETWORK_FORMATS, Export, ExportColumn, ExportedFile, MartSelection
from research_assets.planning.messages import describe_day_sample
from research_assets.storage import files
from research_assets.storage.listing import all_files
from research_assets.study.spec import StudySpec

DATA_PACKAGE, RO_CRATE, CITATION = "datapackage.json", "ro-crate-metadata.json", "CITATION.cff"
DDI, STATEMENT, CHECKSUMS = "ddi.xml", "DATA_STATEMENT.md", "SHA256SUMS"
ARCHIVE_FILES = (DATA_PACKAGE, RO_CRATE, CITATION, DDI, STATEMENT, CHECKSUMS)
"""Names of the files that this module writes."""

TERMS_URL = "https://www.tiktok.com/legal/page/global/terms-of-service-research-api/en"
_API_URL = "https://developers.tiktok.com/products/research-api/"
_MEDIA_TYPES = {
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "stata": "application/x-stata-dta",
    "graphml": "application/graphml+xml",
    "gexf": "application/gexf+xml",
    "gephi": "text/csv",
    "coortweet": "text/csv",
}
_TO_COMPLETE = "[to be completed by the depositor]"
_REMOVALS = "## Removals\n\n"
_IDS = (
    ExportColumn("entity", "VARCHAR", "", "Kind of the item: videos or comments."),
    ExportColumn("id", "VARCHAR", "", "Id of the video or the comment, a 64-bit integer."),
    ExportColumn("video_id", "VARCHAR", "", "Id of the video, or of the video of the comment, a 64-bit integer."),
    ExportColumn("date", "DATE", "", "Day on which the video was published (UTC)."),
)

PERSONAL_NOTE = (
    "The data are personal data: they contain accounts, texts and identifiers of people. Share them only with people "
    "who may use them, and deposit them only where access is restricted."
)
PSEUDONYMOUS_NOTE = (
    "The data are pseudonymous, and pseudonymous data are personal data (GDPR, Article 4(5) and Recital 26): texts, "
    "times and counts can lead back to a person. Share them only with people who may use them, and deposit them only "
    "where access is restricted."
)


COARSE_NOTE = (
    "The data are a coarse release: pseudonyms of this release, days instead of times, rounded numbers, no small "
    "cells. They are not anonymous; DISCLOSURE.md states which rows are still alone. Treat them as personal data."
)


def write_archive(
    build: Path,
    export: Export,
    selections: Sequence[MartSelection],
    specs: Sequence[StudySpec],
    counts: Sequence[CoverageCount],
    retrieval: Retrieval,
) -> None:
    """Write all descriptions but the checksums into the folder in which an export is built."""
    tables = _tables(export, selections)
    text = _study_text(export, specs, counts, retrieval, draw_note(selections) if export.request.draw else "")
    grains = {one.mart.name: one.mart.description for one in selections}
    contents = {
        DATA_PACKAGE: _json(_data_package(export, text, tables, grains)),
        RO_CRATE: _json(_ro_crate(export, text)),
        CITATION: _citation(export, text).encode(),
        DDI: ddi_xml(export, text, tables, software_version()),
        STATEMENT: _statement(export, text, counts).encode(),
    }
    for name, content in contents.items():
        (build / name).write_bytes(content)


def write_checksums(folder: Path, tables: Sequence[ExportedFile], manifest_name: str, manifest: bytes) -> None:
    """Write the SHA-256 of every file in the folder, in the format of `sha256sum -c`.

    `manifest` is the manifest that will be written next. An existing list keeps its files, so that a file that a user
    put there is never claimed to be of the export.
    """
    path = folder / CHECKSUMS
    listed = (
        [line.partition("  ")[2] for line in path.read_text(encoding="utf-8").splitlines()]
        if path.exists()
        else [one.relative_to(folder).as_posix() for one in sorted(all_files(folder))]
    )
    names = sorted({*listed, manifest_name})
    known = {one.path: one.sha256 for one in tables} | {manifest_name: hashlib.sha256(manifest).hexdigest()}
    lines = [
        f"{known.get(name) or files.digest_of(folder / name)}  {name}\n"
        for name in names
        if name == manifest_name or (folder / name).is_file()
    ]
    files.write_private(path, "".join(lines).encode())


def update_archive(export: Export) -> None:
    """Update the descriptions of an export from which rows were removed: sizes, checksums, rows and removals."""
    by_path = {one.path: one for one in export.files}
    updates: dict[str, Callable[[bytes], bytes]] = {
        DATA_PACKAGE: lambda content: _json(_updated_package(json.loads(content), by_path)),
        RO_CRATE: lambda content: _json(_updated_crate(json.loads(content), by_path, export)),
        DDI: lambda content: updated_ddi(content, export),
        STATEMENT: lambda content: _updated_statement(content.decode(), export).encode(),
    }
    for name, update in updates.items():
        path = export.folder / name
        if path.exists():
            files.write_private(path, update(path.read_bytes()))


def _tables(export: Export, selections: Sequence[MartSelection]) -> dict[str, Sequence[ExportColumn]]:
    request = export.request
    if request.ids_only:
        mark = ExportColumn(columns.SIMULATED, "BOOLEAN", "", "Always true: the row was generated by the sandbox.")
        return {"ids": [*_IDS, *[mark] * export.simulated]}
    return {
        one.mart.name: columns.selected_columns(one, pseudonymous=request.pseudonymous, simulated=export.simulated)
        for one in selections
    }


def _study_text(
    export: Export, specs: Sequence[StudySpec], counts: Sequence[CoverageCount], retrieval: Retrieval, drawn: str
) -> StudyText:
    request = export.request
    kind = "Simulated TikTok data" if export.simulated else "Public TikTok data"
    studies = ", ".join(request.studies) or "all studies"
    title = f"{kind}: {studies} ({export.made_at:%Y-%m-%d})"
    complete = sum(one.units for one in counts if one.state == "complete")
    units = sum(one.units for one in counts)
    notes = [
        f"Study {spec.name}: {f'{days} ' if (days := describe_day_sample(spec, export.made_at)) else ''}"
        f"Comments of {spec.comments.described_videos}."
        for spec in specs
    ]
    return StudyText(
        title=title,
        abstract=(
            f"{kind}, {'generated by the sandbox of' if export.simulated else 'collected with'} "
            f"{software_version()}{'' if export.simulated else ' through the Research API of TikTok'}. "
            f"Publication days: {describe_days(request)}. README.md quotes the queries and the coverage."
        ),
        universe=(
            "Public videos that match the queries in README.md and that the API returned at the time of the request, "
            "with their comments and accounts. The API does not return deleted, private or moderated content."
        ),
        sampling=(
            "All videos that the API returned were retained. "
            + f"{drawn} ".lstrip()
            + (" ".join(notes) or "No study file describes the collection of comments.")
            + " Columns inclusion_probability and sampling_weight state how units were sampled."
        ),
        completeness=(
            f"{complete:,} of {units:,} units of collection are complete."
            if units
            else "The export states no coverage."
        ),
        terms=f"{TERMS_NOTE} Terms: {TERMS_URL}",
        confidentiality=confidentiality(export),
        citation=(
            f"{_TO_COMPLETE} ({export.made_at:%Y}). {title}. {_API_URL}, collected with {software_version()}, "
            f"export {export.folder.name}."
        ),
        first_day=request.first.isoformat() if request.first else retrieval.first_day,
        last_day=request.last.isoformat() if request.last else retrieval.last_day,
        retrieved=(retrieval.first_at, retrieval.last_at),
    )


def confidentiality(export: Export) -> str:
    """Return what the data are under data protection law, and what follows from it."""
    if export.simulated:
        return "The data are simulated: accounts, videos and texts are not of real people."
    if export.request.coarse:
        return COARSE_NOTE
    return PSEUDONYMOUS_NOTE if export.request.pseudonymous else PERSONAL_NOTE


_CSV_TYPES = {"BOOLEAN": "boolean", "DATE": "date", "DOUBLE": "number", "FLOAT": "number"}


def _field(column: ExportColumn) -> dict[str, Any]:
    """Return the field of a CSV column: the types are those of `csv_sql`."""
    field: dict[str, Any] = {
        "name": column.name,
        "description": column.description,
        "warehouse_type": column.type,
    }
    if column.is_id:
        return field | {"type": "string", "constraints": {"pattern": r"id_-?\d+"}}
    if column.type == "TIMESTAMP WITH TIME ZONE":
        return field | {"type": "datetime", "format": "%Y-%m-%dT%H:%M:%S.%fZ"}
    if column.is_nested:
        return field | {"type": "array" if column.type.endswith("]") else "object"}
    if column.type.startswith("DECIMAL"):
        return field | {"type": "number"}
    is_integer = "INT" in column.type
    return field | {"type": "integer" if is_integer else _CSV_TYPES.get(column.type, "string")}


def _resource(file: ExportedFile, table: Sequence[ExportColumn], grain: str) -> dict[str, Any]:
    is_network = file.format in NETWORK_FORMATS
    # Networks are files of one study each.
    name = Path(file.path).with_suffix("").as_posix().replace("/", ".") if is_network else file.mart or "ids"
    resource = {
        "name": f"{name}.{file.format}",
        "path": file.path,
        "description": FORMAT_NOTES[file.format] if is_network else grain,
        "mediatype": _MEDIA_TYPES.get(file.format, "application/octet-stream"),
        "bytes": file.bytes,
        "hash": f"sha256:{file.sha256}",
    }
    fields = [_field(column) for column in table]
    if file.format != "csv":
        # The schema of the table is that of its CSV file; other formats carry their own types.
        described = [{"name": one["name"], "description": one["description"]} for one in fields]
        suffix = Path(file.path).suffix[1:]
        return resource | {"type": "file", "format": suffix, "n_rows": file.rows, "columns": described}
    return resource | {
        "type": "table",
        "profile": "tabular-data-resource",
        "format": "csv",
        "encoding": "utf-8",
        "rows": file.rows,
        "schema": {"fields": fields, "missingValues": [""]},
    }


def _data_package(
    export: Export, text: StudyText, tables: Mapping[str, Sequence[ExportColumn]], grains: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "profile": "data-package",
        "name": export.folder.name.lower(),
        "title": text.title,
        "description": f"{text.abstract} {text.confidentiality} {text.terms}",
        "created": export.made_at.isoformat().replace("+00:00", "Z"),
        "sources": [{"title": "TikTok Research API", "path": _API_URL}],
        "simulated": export.simulated,
        "resources": [
            _resource(one, tables.get(one.mart or "ids", ()), grains.get(one.mart, "Ids for rehydration"))
            for one in export.files
        ],
    }


def _updated_package(package: dict[str, Any], by_path: Mapping[str, ExportedFile]) -> dict[str, Any]:
    for resource in package["resources"]:
        if file := by_path.get(resource["path"]):
            rows = "rows" if "rows" in resource else "n_rows"
            resource |= {"bytes": file.bytes, "hash": f"sha256:{file.sha256}", rows: file.rows}
    return package


def _ro_crate(export: Export, text: StudyText) -> dict[str, Any]:
    at = export.made_at.isoformat()
    parts = [
        {
            "@id": one.path,
            "@type": "File",
            "name": one.path,
            "encodingFormat": _MEDIA_TYPES.get(one.format, "application/octet-stream"),
            "contentSize": str(one.bytes),
            "sha256": one.sha256,
        }
        for one in export.files
    ]
    others = {
        "README.md": ("Origin, queries, coverage and caveats", "text/markdown"),
        DATA_PACKAGE: ("Frictionless Data Package", "application/json"),
        DDI: ("DDI-Codebook 2.5", "application/xml"),
        STATEMENT: ("Data statement", "text/markdown"),
        CITATION: ("Citation", "text/yaml"),
    }
    parts += [
        {"@id": name, "@type": "File", "name": title, "encodingFormat": kind} for name, (title, kind) in others.items()
    ]
    return {
        "@context": "https://w3id.org/ro/crate/1.1/context",
        "@graph": [
            {
                "@id": RO_CRATE,
                "@type": "CreativeWork",
                "about": {"@id": "./"},
                "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
            },
            {
                "@id": "./",
                "@type": "Dataset",
                "name": text.title,
                "description": f"{text.abstract} {text.confidentiality}",
                "datePublished": at,
                "dateModified": at,
                "license": {"@id": TERMS_URL},
                "hasPart": [{"@id": part["@id"]} for part in parts],
            },
            {
                "@id": TERMS_URL,
                "@type": "CreativeWork",
                "name": "Terms of service of TikTok's Research API",
                "description": TERMS_NOTE,
            },
            {"@id": "#software", "@type": "SoftwareApplication", "name": software_version()},
            {
                "@id": "#export",
                "@type": "CreateAction",
                "name": "Export of the published marts",
                "endTime": at,
                "instrument": {"@id": "#software"},
                "result": {"@id": "./"},
            },
            *parts,
        ],
    }


def _updated_crate(crate: dict[str, Any], by_path: Mapping[str, ExportedFile], export: Export) -> dict[str, Any]:
    for entity in crate["@graph"]:
        if file := by_path.get(entity["@id"]):
            entity |= {"contentSize": str(file.bytes), "sha256": file.sha256}
        elif entity["@id"] == "./" and export.removals:
            entity["dateModified"] = export.removals[-1].at.isoformat()
    return crate


def _citation(export: Export, text: StudyText) -> str:
    citation = {
        "cff-version": "1.2.0",
        "message": "If you use these data, cite them as below, with the queries and the coverage of README.md.",
        "title": text.title,
        "type": "dataset",
        "version": export.folder.name,
        "date-released": export.made_at.date(),
        "abstract": f"{text.abstract} {text.confidentiality}",
        "authors": [{"name": _TO_COMPLETE}],
        "references": [
            {"type": "software", "title": software_version(), "authors": [{"name": "Research Assets contributors"}]},
            {"type": "website", "title": "TikTok Research API", "url": _API_URL, "authors": [{"name": "TikTok"}]},
        ],
    }
    head = "# Replace the authors by the people who collected the data before you deposit the folder.\n"
    return head + yaml.safe_dump(citation, sort_keys=False, allow_unicode=True, width=120)


def _statement(export: Export, text: StudyText, counts: Sequence[CoverageCount]) -> str:
    open_units = [one for one in counts if one.state != "complete"]
    gaps = [
        f"- `{one.study}`, {one.entity}: {one.units:,} {'unit' if one.units == 1 else 'units'} `{one.state}`."
        for one in open_units
    ]
    start, end = text.retrieved
    retrieved = f"{start:%Y-%m-%d} to {end:%Y-%m-%d} (UTC)" if start and end else "see the column `last_seen_at`"
    parts = [
        "# Data statement",
        *(["**Simulated data.**"] * export.simulated),
        f"## Who\n\nCollected by: {_TO_COMPLETE}. Access: TikTok's Research API; approval: {_TO_COMPLETE}.",
        f"## What\n\n{text.universe}\n\n{text.confidentiality}",
        f"## When\n\nPublication days: {describe_days(export.request)}"
        + (f"; rows of {text.first_day} to {text.last_day}" if text.first_day else "")
        + f". Retrieved: {retrieved}. Exported: {export.made_at:%Y-%m-%d %H:%M} (UTC).",
        f"## How\n\n{text.abstract}",
        f"## Gaps\n\n{text.completeness}\n\n" + ("\n".join(gaps) or "No unit is known to be incomplete."),
        f"## Sampling\n\n{text.sampling}",
        _REMOVALS + "None after this export. Content withdrawn before it is not contained.",
        f"## Licence and terms\n\nNo licence is granted. {text.terms}",
    ]
    return "\n\n".join(parts) + "\n"


def _updated_statement(statement: str, export: Export) -> str:
    before, found, after = statement.partition(_REMOVALS)
    if not found:
        return statement
    rest = after[after.index("## ") :] if "## " in after else ""
    return before + _REMOVALS + "\n".join(describe_removals(export)) + "\n\n" + rest


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
