"""The description of an export as DDI-Codebook 2.5, the format of social science archives.

Elements follow the order of the schema of version 2.5 (`codeBook`: `docDscr`, `stdyDscr`, `fileDscr`, `dataDscr`).
Not here: the texts about the data, which the other descriptions share (see archive.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from xml.etree import ElementTree as Xml

from research_assets.export.request import Export, ExportColumn
from research_assets.text import printable_text

NAMESPACE = "ddi:codebook:2_5"
_NUMBERS = ("INT", "DOUBLE", "FLOAT", "DECIMAL", "BOOLEAN")
_IN_FILE = {
    "parquet": "Parquet",
    "stata": "Stata 118",
    "spss": "SPSS",
    "graphml": "GraphML",
    "gexf": "GEXF",
}
"""Types of files that are no CSV files."""


@dataclass(frozen=True, slots=True)
class StudyText:
    """Texts of a description: title, abstract, population, sampling, access and completeness, by their DDI element."""

    title: str
    abstract: str
    universe: str
    sampling: str
    completeness: str
    terms: str
    confidentiality: str
    citation: str
    first_day: str
    last_day: str
    retrieved: tuple[datetime | None, datetime | None]


def ddi_xml(export: Export, text: StudyText, tables: Mapping[str, Sequence[ExportColumn]], software: str) -> bytes:
    """Return the XML; `tables` are the columns of each mart, and of `ids`."""
    Xml.register_namespace("", NAMESPACE)
    root = Xml.Element(_name("codeBook"), {"version": "2.5", "ID": "codebook"})
    made = export.made_at.date().isoformat()
    for parent in ("docDscr", "stdyDscr"):
        description = _add(root, parent)
        citation = _add(description, "citation")
        title = _add(citation, "titlStmt")
        _add(title, "titl", text.title)
        if parent == "docDscr":
            production = _add(citation, "prodStmt")
            _add(production, "prodDate", made, {"date": made})
            _add(production, "software", software)
            continue
        _add(title, "IDNo", export.folder.name)
        _add(_add(citation, "rspStmt"), "AuthEnty", "To be completed by the depositor")
        production = _add(citation, "prodStmt")
        _add(production, "prodDate", made, {"date": made})
        _add(production, "software", software)
        _add(citation, "biblCit", text.citation)
        _study(description, text)
    for one in export.files:
        file = _add(root, "fileDscr", "", {"ID": _file_id(one.path), "URI": one.path})
        content = _add(file, "fileTxt")
        _add(content, "fileName", one.path)
        size = _add(content, "dimensns")
        _add(size, "caseQnty", str(one.rows))
        _add(size, "varQnty", str(len(tables.get(one.mart or "ids", ()))))
        _add(content, "fileType", _IN_FILE.get(one.format, "text/csv"))
    data = _add(root, "dataDscr")
    for table, columns in tables.items():
        files = " ".join(_file_id(one.path) for one in export.files if (one.mart or "ids") == table)
        for column in columns:
            is_number = column.type.startswith(_NUMBERS) or "INT" in column.type
            is_number = is_number and not column.is_id and not column.is_nested
            kind = "contin" if column.type in ("DOUBLE", "FLOAT") else "discrete"
            names = {"ID": f"V_{table}_{column.name}", "name": column.name, "files": files, "intrvl": kind}
            variable = _add(data, "var", "", names)
            _add(variable, "labl", _label(column), {"level": "variable"})
            if column.description:
                _add(variable, "txt", column.description)
            if column.type == "BOOLEAN":
                for value, label in (("0", "no"), ("1", "yes")):
                    category = _add(variable, "catgry")
                    _add(category, "catValu", value)
                    _add(category, "labl", label, {"level": "category"})
            _add(variable, "varFormat", "", {"type": "numeric" if is_number else "character", "schema": "other"})
    Xml.indent(root)
    return bytes(Xml.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def updated_ddi(content: bytes, export: Export) -> bytes:
    """Return the XML with the numbers of rows of an export from which rows were removed."""
    Xml.register_namespace("", NAMESPACE)
    root = Xml.fromstring(content)
    rows = {one.path: one.rows for one in export.files}
    for file in root.iter(_name("fileDscr")):
        cases = file.find(f"{_name('fileTxt')}/{_name('dimensns')}/{_name('caseQnty')}")
        if cases is not None and file.get("URI") in rows:
            cases.text = str(rows[file.get("URI", "")])
    return bytes(Xml.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _study(description: Xml.Element, text: StudyText) -> None:
    info = _add(description, "stdyInfo")
    subject = _add(info, "subject")
    for keyword in ("TikTok", "Research API", "social media"):
        _add(subject, "keyword", keyword)
    _add(info, "abstract", text.abstract)
    summary = _add(info, "sumDscr")
    for event, day in (("start", text.first_day), ("end", text.last_day)):
        if day:
            _add(summary, "timePrd", day, {"event": event, "date": day})
    for event, at in zip(("start", "end"), text.retrieved, strict=True):
        if at is not None:
            _add(summary, "collDate", at.date().isoformat(), {"event": event, "date": at.date().isoformat()})
    _add(summary, "anlyUnit", "Videos, comments and accounts; codebook.csv states the unit of each table.")
    _add(summary, "universe", text.universe)
    _add(summary, "dataKind", "Records of a programming interface")
    method = _add(description, "method")
    collection = _add(method, "dataColl")
    _add(collection, "sampProc", text.sampling)
    _add(collection, "collMode", "Requests to TikTok's Research API")
    _add(_add(method, "anlyInfo"), "respRate", text.completeness)
    access = _add(_add(description, "dataAccs"), "useStmt")
    _add(access, "confDec", text.confidentiality)
    _add(access, "restrctn", text.terms)
    _add(access, "citReq", text.citation)


def _label(column: ExportColumn) -> str:
    sentence = column.description.partition(". ")[0].rstrip(".")
    return sentence or column.name


def _file_id(path: str) -> str:
    return "F_" + path.replace("/", "_").replace(".", "_")


def _name(tag: str) -> str:
    return f"{{{NAMESPACE}}}{tag}"


def _add(parent: Xml.Element, tag: str, text: str = "", attributes: Mapping[str, str] | None = None) -> Xml.Element:
    element = Xml.SubElement(parent, _name(tag), dict(attributes or {}))
    element.text = printable_text(text) or None
    return element
