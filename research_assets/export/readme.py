"""The README of an export: origin, tables, queries, coverage, file formats, caveats, and terms of use.

Not here: the numbers that it quotes (see contents.py), the report of a study (see report/).
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from research_assets.export import spss
from research_assets.export.columns import TEXT_ID_PREFIX
from research_assets.export.contents import CoverageCount, software_version
from research_assets.export.networks import NETWORKS
from research_assets.export.pseudonyms import Scrub
from research_assets.export.request import NETWORK_FORMATS, Export, ExportRequest, MartSelection
from research_assets.planning.messages import pluralize
from research_assets.study.spec import StudySpec

PERSONAL_FIELDS = frozenset({"username", "video_id", "music_id"})
"""Fields of a query whose values identify people."""

FORMAT_NOTES = {
    "parquet": (
        "Parquet files have the types of the warehouse. In Python: `duckdb.sql(\"FROM 'parquet/videos.parquet'\")`, or "
        "`pandas.read_parquet` with pyarrow. In R, arrow reads ids as `integer64`."
    ),
    "csv": (
        "CSV files are UTF-8 with a byte order mark, for Excel. Ids begin with `id_`, and so do texts of 16 or more "
        "digits, because Excel and R would round them as numbers. A text that a spreadsheet would run as a formula has "
        "an additional `'` in front. Times are ISO 8601 in UTC; lists and structures are JSON. An empty cell is a "
        'missing value and `""` an empty text; the readers below treat both as missing. `NA` is a text (for example '
        "the country code of Namibia). "
        'In R: `readr::read_csv("csv/videos.csv", na = "")`. '
        'In pandas: `pandas.read_csv("csv/videos.csv", keep_default_na=False, na_values=[""])`.'
    ),
    "stata": (
        "Stata files are for Stata 14 and later. Ids are text, because Stata has no 64-bit integers. Missing texts are "
        "empty texts. Times are %tc in UTC, days %td, lists JSON text. Labels are shortened; `codebook.csv` has the "
        "full descriptions."
    ),
    "spss": (
        "SPSS files have variable labels, value labels and measurement levels. Ids are text, because SPSS has no "
        "64-bit integers. Missing texts are empty texts, declared as missing values. Times are in UTC, lists JSON "
        f"text. SPSS permits {spss.MAX_TEXT:,} bytes in a text: a longer text ends with `{spss.CUT.strip()}`, and a "
        f"longer list is `{spss.TOO_LONG}`; the Parquet and CSV files have them complete. Labels are shortened; "
        '`codebook.csv` has the full descriptions. In R: `haven::read_sav("spss/videos.sav")`. In Python: '
        "`pyreadstat.read_sav`."
    ),
    "graphml": (
        'GraphML files contain one network each. In R: `igraph::read_graph(file, format = "graphml")`; in Python: '
        "`networkx.read_graphml(file)`. Gephi, visone and Cytoscape read them as well."
    ),
    "gexf": (
        "GEXF files are dynamic networks for Gephi: a node and an edge exist from the day of their first video or "
        "observation to that of the last. The attributes are those of GraphML."
    ),
    "gephi": (
        "Gephi's files are one table of nodes and one of edges for each network: *File*, *Import spreadsheet*, first "
        "the nodes, then the edges into the same workspace."
    ),
    "coortweet": (
        "CooRTweet's files have one row per share: `object_id` (what was shared), `account_id` (creator), `content_id` "
        "(video) and `timestamp_share` (Unix seconds, UTC), as the R package CooRTweet reads them. In R: "
        '`CooRTweet::detect_groups(data.table::fread("shared_sounds.csv"), time_window = 60)`.'
    ),
}
"""How to read each format, and how its values differ from the warehouse."""

IDS_NOTE = (
    "Ids are 64-bit integers. Do not save the file from a spreadsheet program, which would round them. `entity` is "
    "videos or comments. `video_id` is the video, or the video of the comment. `date` is the UTC day on which the "
    "video was published."
)

PSEUDONYM_NOTE = (
    "This export is pseudonymous: accounts, videos, comments, sounds and playlists have keyed pseudonyms "
    "(HMAC-SHA256), which are the same in every export of this project. The key is not in this folder. "
    "They are personal data: pseudonymous data are personal data (GDPR, Article 4(5)). "
    "Never store or share it together with these data."
)

COARSE_NOTE = (
    "This is a coarse release. Accounts and ids have keyed pseudonyms that no other export has, times are days, "
    "numbers have two significant digits, and values that few accounts share are null. `DISCLOSURE.md` states what "
    "still distinguishes the rows. The release is not anonymous: treat it as personal data."
)

TERMS_NOTE = (
    "TikTok's terms for the Research API apply to this copy: use it only for the approved purpose and within the "
    "approved team, refresh it, and delete data that were deleted on TikTok. A removal of such data covers only "
    "exports in the data folder of the project. If you copy this folder, remove the data from the copy yourself."
)


def render_readme(
    export: Export,
    selections: Sequence[MartSelection],
    specs: Sequence[StudySpec],
    counts: Sequence[CoverageCount],
    scrub: Scrub | None,
) -> str:
    """Return the README as Markdown. `scrub` replaces identifiers in the queries of a pseudonymous export."""
    parts = (
        _head(export),
        _tables(export, selections),
        _networks(export),
        _queries(specs, scrub),
        _coverage(export.request, counts),
        _formats(export.request),
        _caveats(export),
        _use(export),
    )
    return "\n\n".join(block for part in parts for block in part) + "\n"


_ROW_COUNT = re.compile(r"^(\| `(\w+)` \| )[\d,]+(?= \| )", re.MULTILINE)
_ID_COUNT = re.compile(r"^(`ids\.csv`: )[\d,]+ ids?\.", re.MULTILINE)
_REMOVED, _QUERIES = "## Removed rows\n\n", "## Queries\n\n"
_CONDITION = re.compile(r"^(  (?:and|or|not): )(\{.*\})$", re.MULTILINE)


def updated_readme(text: str, export: Export) -> str:
    """Return the README of an export from which rows were removed: with its row counts and a list of the removals."""
    text = _ROW_COUNT.sub(lambda m: f"{m[1]}{export.rows[m[2]]:,}" if m[2] in export.rows else m[0], text)
    if "ids" in export.rows:
        text = _ID_COUNT.sub(lambda m: f"{m[1]}{pluralize(export.rows['ids'], 'id')}.", text)
    for study in {one.study for one in export.removals} - {""}:
        text = _without_study(text, study)
    before, found, after = text.partition(_QUERIES)
    if not found:
        return text
    return before.partition(_REMOVED)[0] + _REMOVED + "\n".join(describe_removals(export)) + "\n\n" + _QUERIES + after


def describe_removals(export: Export) -> Iterator[str]:
    """Yield the removals from an export, as lines of Markdown."""
    for one in export.removals:
        rows = ", ".join(f"`{name}` {number:,}" for name, number in one.rows.items()) or "none"
        what = f"the study `{one.study}`" if one.study else "items that were withdrawn"
        cleaned = f" Mentions of them were removed from texts in: {', '.join(one.cleaned)}." if one.cleaned else ""
        yield f"- {one.at:%Y-%m-%d} (UTC), rows of {what}: {rows}.{'' if one.study else cleaned}"
    yield (
        "\nNumbers that were counted before are unchanged: rows of days, hashtags and accounts, fill rates, and the "
        "coverage below."
    )


def _without_study(text: str, study: str) -> str:
    """Return the README without the query and the coverage of a study."""
    name = re.escape(study)
    text = re.sub(rf"^Study `{name}`, .*\n\n```\n(?:.*\n)*?```\n\nComments: .*\n\n", "", text, flags=re.MULTILINE)
    return re.sub(rf"^\| {name} \| (?!entity \| ).*\n", "", text, flags=re.MULTILINE)


def map_conditions(text: str, change: Callable[[Any], Any]) -> str:
    """Return a README in which a function was applied to each condition of the queries."""

    def changed(found: re.Match[str]) -> str:
        condition = json.loads(found[2])
        new = change(condition)
        return found[0] if new == condition else found[1] + json.dumps(new, ensure_ascii=False)

    return _CONDITION.sub(changed, text)


def _head(export: Export) -> Iterator[str]:
    request = export.request
    yield f"# {export.folder.name}"
    if export.simulated:
        yield "**Simulated data**: generated by the sandbox of research-assets. Accounts and videos are not real."
    yield (
        f"Public TikTok data, collected with TikTok's Research API. Studies: {', '.join(request.studies) or 'all'}. "
        f"Days: {describe_days(request)}. Exported at {export.made_at:%Y-%m-%d %H:%M:%S} UTC by {software_version()}."
    )
    if request.pseudonymous:
        yield PSEUDONYM_NOTE
    if request.coarse:
        yield COARSE_NOTE
    if request.ids_only:
        yield (
            "This export contains ids only. With access to the Research API, collect the data of the ids with "
            "`research-assets rehydrate ids.csv`. The API may not return all of them again, and gives no reason."
        )


def describe_days(request: ExportRequest) -> str:
    """Return the requested days as text."""
    if request.first is None and request.last is None:
        return "all"
    return f"{request.first or 'the first day'} to {request.last or 'the last day'} (UTC, both inclusive)"


def _tables(export: Export, selections: Sequence[MartSelection]) -> Iterator[str]:
    yield "## Tables"
    if export.request.ids_only:
        yield f"`ids.csv`: {pluralize(export.files[0].rows, 'id')}. {IDS_NOTE}"
        return
    if not selections:
        yield "This export contains networks only."
        return
    lines = ["| table | rows | one row is |", "| --- | ---: | --- |"]
    for selection in selections:
        mart, note = selection.mart, f" ({selection.note})" if selection.note else ""
        grain = mart.description.removeprefix("Grain: ")
        lines.append(f"| `{mart.name}` | {export.rows[mart.name]:,} | {grain}{note} |")
    yield "\n".join(lines)
    yield (
        f"Formats: {', '.join(export.request.table_formats)}, each in a folder of that name. `codebook.csv` describes "
        "every column, with its unit. `manifest.json` lists the request and the files for programs, `SHA256SUMS` the "
        "checksums (`sha256sum -c SHA256SUMS`). For repositories: `DATA_STATEMENT.md`, `CITATION.cff`, "
        "`datapackage.json` (Frictionless), `ro-crate-metadata.json` (RO-Crate 1.1) and `ddi.xml` (DDI-Codebook 2.5)."
    )
    if "codebook" in export.rows:
        yield (
            "`codebook.html` shows the table `codebook` in a browser: every column of the warehouse, with its fill "
            "rate in total and by month, and months in which the fill rate jumps. It counts all rows of the warehouse, "
            "including rows that this export does not contain."
        )
    for reason, names in export.skipped_by_reason.items():
        yield f"Skipped: {', '.join(f'`{name}`' for name in names)}. Reason: {reason}."


def _networks(export: Export) -> Iterator[str]:
    files = [file for file in export.files if file.format in NETWORK_FORMATS]
    if not files:
        return
    yield "## Networks"
    rows = export.rows
    names = list(dict.fromkeys(file.mart for file in files))
    described = {network.name: network.description for network in NETWORKS}
    lines = ["| network | rows | contents |", "| --- | ---: | --- |"]
    for name in names:
        text = described.get(name) or ("nodes" if name.endswith("_nodes") else "shares for CooRTweet")
        lines.append(f"| `{name}` | {rows[name]:,} | {text} |")
    yield "\n".join(lines)
    yield (
        "Rows are edges, nodes or shares. Each format has a folder, with a folder for each study. A network contains "
        "the accounts, sounds and hashtags that have an edge. A hashtag begins with `#` and a sound with `music:`, so "
        "that none has the name of an account. `weight` counts videos, `first_at` and `last_at` are the times of the "
        "first and last of them (UTC; for follows those of the observations), and `contents` lists them as "
        "`<id>@<Unix seconds>`. Two accounts that share a sound or a hashtag are connected by it; "
        "`networkx.bipartite.weighted_projected_graph` and `igraph::bipartite_projection` make a network of accounts "
        "of it. An account has the handle of the newest observation of each video; the mart `renames` lists former "
        "handles. The authors of comments are unknown, so their mentions are in the mart `mentions` only."
    )


def _queries(specs: Sequence[StudySpec], scrub: Scrub | None) -> Iterator[str]:
    yield "## Queries"
    if not specs:
        yield "There is no study file any more for the exported data."
    for spec in specs:
        query = _redacted(spec.query, scrub) if scrub else spec.query
        lines = [
            f"  {group}: {json.dumps(condition, ensure_ascii=False, default=list)}"
            for group, conditions in query.items()
            for condition in conditions
        ]
        yield f"Study `{spec.name}`, {spec.start} to {spec.end or 'now'}, as defined at the time of the export:"
        yield "\n".join(["```", *lines, "```"])
        panel = f"a panel of {pluralize(len(spec.panel), 'account')}" if spec.panel else "no panel"
        yield (
            f"Comments: {spec.comments.described_videos}; replies: {spec.comments.replies}. "
            f"Profiles: {spec.users.who}. Lists of accounts: {panel}. Profiles and lists are observed {spec.observe}."
        )
        if spec.pseudonymous:
            yield (
                f"The study `{spec.name}` was collected without handles: the stored accounts are keyed pseudonyms "
                "(`p_…`), display names and profile texts were not requested, and identifiers in texts were replaced "
                "before they "
                "were stored." + (" The pseudonyms of this export replace the stored ones." if scrub else "")
            )


def _redacted(query: Mapping[str, Any], scrub: Scrub) -> dict[str, list[dict[str, Any]]]:
    """Return the query without the values that identify people."""
    return {
        group: [
            dict(condition) | {"field_values": f"{len(condition['field_values'])} omitted"}
            if condition["field_name"] in PERSONAL_FIELDS
            else dict(condition) | {"field_values": [scrub(str(value), None) for value in condition["field_values"]]}
            for condition in conditions
        ]
        for group, conditions in query.items()
    }


def _coverage(request: ExportRequest, counts: Sequence[CoverageCount]) -> Iterator[str]:
    yield "## Coverage"
    if not counts:
        yield "The warehouse contains no coverage for these studies and days."
        return
    yield (
        "Units of the exported studies: days of a search, comment lists, profiles and lists of accounts. "
        f"Days: {describe_days(request)}."
    )
    lines = [
        "| study | entity | state | units | rows requested | rows reported by the API | rows retained |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for one in counts:
        numbers = " | ".join("" if n is None else f"{n:,}" for n in (one.units, one.asked, one.offered, one.kept))
        lines.append(f"| {one.study} | {one.entity} | {one.state} | {numbers} |")
    yield "\n".join(lines)
    yield (
        "The numbers are those of the newest complete attempt at each unit, or of its newest attempt without one. "
        "Reported rows that are not retained were not returned by the API, which gives no reason, or are unusable "
        "(in `rejected_rows`)."
    )


def _formats(request: ExportRequest) -> Iterator[str]:
    if not request.ids_only:
        yield "## File formats"
        yield "\n".join(f"- {FORMAT_NOTES[name].replace('id_', TEXT_ID_PREFIX)}" for name in request.formats)


def _caveats(export: Export) -> Iterator[str]:
    request = export.request
    yield "## Before you analyse the data"
    counts = (
        "Counts may have been up to 10 days old when they were observed. The columns `last_seen_at` and `observed_at` "
        "contain the time of the observation."
    )
    public = (
        "The data contain only public content that the API returned. A day without data can be a day that was not "
        "collected; see the coverage above."
    )
    lines = [
        *([] if request.ids_only else [counts]),
        public,
        "The API shortens long lists of followers, likes and reposts, and does not return private lists.",
    ]
    if "api_changes" in export.rows:
        lines.append("`api_changes` lists known changes and incidents of the API: new fields, changed rules, failures.")
    if request.first or request.last:
        lines.append(
            "The selected days are publication dates in tables of videos and comments, and collection dates in tables "
            "of accounts."
        )
    if request.pseudonymous:
        lines.append(
            "Pseudonymous data are not anonymous. Texts are verbatim except for mentions, links, e-mail addresses and "
            "ids, so they can be found with a search engine. Names without @ remain in texts. Hashtags can be names. "
            "Exact times and counts can identify a video."
        )
    yield "\n".join(f"- {line}" for line in lines)


def _use(export: Export) -> Iterator[str]:
    yield "## Use and citation"
    yield TERMS_NOTE
    yield (
        f"> {'Simulated data' if export.simulated else 'Data'}: TikTok Research API "
        f"(https://developers.tiktok.com/products/research-api/), collected with {software_version()}, exported "
        f"{export.made_at:%Y-%m-%d}, `{export.folder.name}`."
    )
    yield "State the queries, the days and the coverage above together with this reference."
