"""The descriptions of an export for archives: their readers accept them, and they agree with the files."""

import hashlib
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import pytest
import yaml
from frictionless import Package

from research_assets.export import Export, ExportRequest, export
from research_assets.export.archive import ARCHIVE_FILES, TERMS_URL
from research_assets.export.ddi import NAMESPACE
from research_assets.settings import Settings
from research_assets_tests.export.export_warehouse import NOW, STUDY

ORDER: dict[str, str] = {
    "codeBook": "docDscr stdyDscr fileDscr dataDscr otherMat",
    "stdyDscr": "citation stdyInfo method dataAccs othrStdyMat notes",
    "citation": "titlStmt rspStmt prodStmt distStmt serStmt verStmt biblCit holdings notes",
    "titlStmt": "titl subTitl altTitl parTitl IDNo",
    "prodStmt": "producer copyright prodDate prodPlac software fundAg grantNo",
    "stdyInfo": "studyBudget subject abstract sumDscr qualityStatement notes exPostEvaluation",
    "sumDscr": "timePrd collDate nation geogCover geogUnit geoBndBox boundPoly anlyUnit universe dataKind",
    "method": "dataColl notes anlyInfo stdyClas codingInstructions",
    "dataColl": "timeMeth dataCollector collectorTraining frequenc sampProc sampleFrame targetSampleSize deviat "
    "collMode resInstru instrumentDevelopment sources collSitu actMin ConOps weight cleanOps",
    "useStmt": "confDec specPerm restrctn contact citReq deposReq conditions disclaimer",
    "fileTxt": "fileName fileCitation dataFingerprint fileCont fileStrc dimensns fileType format filePlac dataChck",
    "dimensns": "caseQnty varQnty logRecL recPrCas recNumTot",
    "var": "location labl imputation security embargo respUnit anlysUnit qstn valrng invalrng undocCod universe "
    "TotlResp sumStat txt stdCatgry catgryGrp catgry codInstr verStmt concept derivation varFormat geoMap catLevel",
    "catgry": "catValu labl txt catStat mrow",
}
"""Order of the children of an element in the schema of DDI-Codebook 2.5; the schema itself is not in the repository."""


def errors(folder: Path) -> list[Any]:
    """Return what frictionless finds wrong with an export."""
    return list(
        Package.from_descriptor(str(folder / "datapackage.json")).validate().flatten(["rowNumber", "title", "message"])
    )


def check_archive(folder: Path, rows: dict[str, int]) -> None:
    """Check that every description agrees with the files of an export, whose rows are given by path."""
    assert not errors(folder)
    package = json.loads((folder / "datapackage.json").read_text())
    assert {one["path"]: one.get("rows", one.get("n_rows")) for one in package["resources"]} == rows
    for one in package["resources"]:
        content = (folder / one["path"]).read_bytes()
        assert (one["bytes"], one["hash"]) == (len(content), f"sha256:{hashlib.sha256(content).hexdigest()}")
    crate = {one["@id"]: one for one in json.loads((folder / "ro-crate-metadata.json").read_text())["@graph"]}
    assert all(crate[part["@id"]]["@type"] == "File" for part in crate["./"]["hasPart"])
    for name in rows:
        assert crate[name]["sha256"] == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    root = Xml.parse(folder / "ddi.xml").getroot()
    cases = {file.get("URI"): file.findtext(f".//{{{NAMESPACE}}}caseQnty") for file in _all(root, "fileDscr")}
    assert cases == {name: str(number) for name, number in rows.items()}
    sums = dict(line.split("  ")[::-1] for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert set(sums) == {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {
        "SHA256SUMS"
    }
    assert all(hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest for name, digest in sums.items())


def _all(root: Xml.Element, name: str) -> list[Xml.Element]:
    return list(root.iter(f"{{{NAMESPACE}}}{name}"))


@pytest.mark.parametrize("kind", ["full_export", "pseudonymous_export"])
def test_descriptions_agree_with_the_files(kind: str, request: pytest.FixtureRequest) -> None:
    one: Export = request.getfixturevalue(kind)
    check_archive(one.folder, {file.path: file.rows for file in one.files})
    assert {path.name for path in one.folder.iterdir()} >= set(ARCHIVE_FILES)


def test_export_of_ids_has_descriptions(own_export_settings: Settings) -> None:
    one = export(own_export_settings, ExportRequest(ids_only=True), [STUDY], NOW)
    check_archive(one.folder, {"ids.csv": 5})


def test_frictionless_finds_a_changed_file(own_export_settings: Settings) -> None:
    one = export(own_export_settings, ExportRequest(formats=("csv",)), [STUDY], NOW)
    path = one.folder / "csv" / "quota_usage.csv"
    path.write_bytes(path.read_bytes().replace(b"research", b"resource"))
    assert [error[1] for error in errors(one.folder)] == ["Hash Count Error"]


def test_table_schemas_have_types_and_descriptions(full_export: Export) -> None:
    package = json.loads((full_export.folder / "datapackage.json").read_text())
    videos = next(one for one in package["resources"] if one["path"] == "csv/videos.csv")
    fields = {one["name"]: one for one in videos["schema"]["fields"]}
    kinds = {name: fields[name]["type"] for name in ("video_id", "day", "created_at", "hashtags", "view_count")}
    assert list(kinds.values()) == ["string", "date", "datetime", "array", "integer"]
    assert fields["view_count"]["description"].endswith("beside a variable (views).")
    assert videos["description"] == "Grain: one video of one study."


def test_ddi_follows_the_order_of_its_schema(full_export: Export) -> None:
    root = Xml.parse(full_export.folder / "ddi.xml").getroot()
    assert root.tag == f"{{{NAMESPACE}}}codeBook"
    for name, order in ORDER.items():
        for element in _all(root, name):
            places = [order.split().index(child.tag.partition("}")[2]) for child in element]
            assert places == sorted(places), name
    ids = [element.get("ID") for element in root.iter() if element.get("ID")]
    assert len(ids) == len(set(ids))
    for variable in _all(root, "var"):
        assert set(str(variable.get("files")).split()) <= set(ids)


def test_citation_and_statement_are_honest(full_export: Export, pseudonymous_export: Export) -> None:
    citation = yaml.safe_load((full_export.folder / "CITATION.cff").read_text())
    assert (citation["type"], citation["version"]) == ("dataset", full_export.folder.name)
    assert "to be completed" in citation["authors"][0]["name"]
    statement = (full_export.folder / "DATA_STATEMENT.md").read_text()
    for heading in ("Who", "What", "When", "How", "Gaps", "Sampling", "Removals", "Licence and terms"):
        assert f"## {heading}\n" in statement
    for text in ("2 of 4 units of collection are complete", "`garden`, users: 1 unit `missing`", TERMS_URL):
        assert text in statement
    assert "2026-02-01 to 2026-02-02" in statement
    assert "The data are personal data" in statement
    for name in ("DATA_STATEMENT.md", "README.md", "datapackage.json", "ddi.xml", "ro-crate-metadata.json"):
        assert "pseudonymous data are personal data" in (pseudonymous_export.folder / name).read_text()


def test_descriptions_contain_no_value_of_a_row_and_no_query(full_export: Export) -> None:
    for name in ARCHIVE_FILES:
        text = (full_export.folder / name).read_text().lower()
        assert not any(value in text for value in ("anna", "ben.k", "carla", "garten", "7602399228894800784"))
