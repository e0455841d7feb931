"""The README of an export: what it is, of when and by what, the queries, the coverage, how to read it, what to know."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from research_assets.export.columns import TEXT_ID_PREFIX
from research_assets.export.contents import CoverageCount, software_version
from research_assets.export.request import ExportRequest, MartSelection
from research_assets.study.spec import StudySpec

if TYPE_CHECKING:
    from research_assets.export.request import Export

PERSONAL_FIELDS = frozenset({"username", "video_id", "music_id"})
"""Fields of a query whose values point to people."""

FORMAT_NOTES = {
    "parquet": (
        "Parquet has the types of the warehouse. In Python: `duckdb.sql(\"FROM 'parquet/videos.parquet'\")`, or "
        "`pandas.read_parquet` with pyarrow. In R, arrow reads ids as `integer64`."
    ),
    "csv": (
        "CSV is UTF-8 with a byte order mark, for Excel. Ids begin with `id_`, and so do texts of nothing "
        "but 16 or more digits: as mere numbers, Excel and R would round them. A text that a spreadsheet would run as "
        "a formula has one more `'` in front. Moments are ISO 8601 in UTC; lists and structures are JSON. Nothing "
        'between two commas is a missing value, `""` an empty text (these readers take both for missing), `NA` a text '
        "(Namibia, for one). "
        'In R: `readr::read_csv("csv/videos.csv", na = "")`. '
        'In pandas: `pandas.read_csv("csv/videos.csv", keep_default_na=False, na_values=[""])`.'
    ),
    "stata": (
        "Stata files are for Stata 14 and later. Ids are text, as Stata has no 64-bit numbers; a missing text "
        "is an empty one; moments are %tc in UTC, days %td; lists are JSON text. Labels are cut, the codebook is not."
    ),
}
"""How to read each format, and what was changed for its sake."""

IDS_NOTE = (
    "`ids.csv` holds plain numbers of 64 bits. Do not save it from a spreadsheet, which would round them. `entity` is "
    "videos or comments, `video_id` the video itself or the one commented on, `date` the UTC day of its publication."
)

PSEUDONYM_NOTE = (
    "Pseudonymous: accounts, videos, comments, sounds and playlists have keyed pseudonyms (HMAC-SHA256), the same in "
    "every export of this project. The key is not in this folder and must never be put beside it."
)

TERMS_NOTE = (
    "TikTok's terms for the Research API hold for this copy too: use within the approved purpose and team, refreshing, "
    "and deleting what was deleted there. Exports are found for a removal in the project's own folder only: whoever "
    "takes a copy away removes there what has to be removed."
)


def render_readme(
    export: "Export",
    chosen: Sequence[MartSelection],
    specs: Sequence[StudySpec],
    held: Sequence[CoverageCount],
    *,
    simulated: bool,
) -> str:
    """The whole text, Markdown."""
    parts = (
        _head(export, simulated),
        _tables(export, chosen),
        _queries(export.request, specs),
        _coverage(export.request, held),
        _reading(export.request),
        _caveats(export),
        _use(export, simulated),
    )
    return "\n\n".join(block for part in parts for block in part) + "\n"


def _head(export: "Export", simulated: bool) -> Iterator[str]:
    request = export.request
    yield f"# {export.folder.name}"
    if simulated:
        yield "**Simulated data**: made by the sandbox of research-assets. Nobody in it exists."
    yield (
        f"Public data of TikTok, collected through its Research API. Studies: {', '.join(request.studies) or 'all'}; "
        f"{_days(request)}. Exported at {export.made_at:%Y-%m-%d %H:%M:%S} UTC by {software_version()}."
    )
    if request.pseudonymous:
        yield PSEUDONYM_NOTE
    if request.ids_only:
        yield (
            "Ids only: whoever has access to the Research API asks for the rest: `research-assets rehydrate ids.csv`. "
            "What was deleted or made private since does not come back."
        )


def _days(request: ExportRequest) -> str:
    if request.first is None and request.last is None:
        return "all days"
    return f"{request.first or 'the first day'} to {request.last or 'the last day'}, UTC, both included"


def _tables(export: "Export", chosen: Sequence[MartSelection]) -> Iterator[str]:
    yield "## Tables"
    if export.request.ids_only:
        yield f"`ids.csv`: {export.files[0].rows:,} ids. {IDS_NOTE}"
        return
    lines = ["| table | rows | one row is |", "| --- | ---: | --- |"]
    for part in chosen:
        meaning = part.mart.description.removeprefix("Grain: ") + (f" ({part.note})" if part.note else "")
        lines.append(f"| `{part.mart.name}` | {export.rows[part.mart.name]:,} | {meaning} |")
    yield "\n".join(lines)
    yield (
        f"Each table is there as {', '.join(export.request.formats)}, in folders of these names. `codebook.csv` says of "
        "every column what it means, with its unit; `manifest.json` is for programs."
    )
    if "codebook" in export.rows:
        yield (
            "`codebook.html` shows the table `codebook` in a browser: every column of the warehouse, how often it is "
            "filled, over all and by month, and where that breaks. It counts all rows that were held then, also those "
            "that this export leaves out."
        )
    for reason, names in export.skipped_by_reason.items():
        yield f"Left out: {', '.join(f'`{name}`' for name in names)}: {reason}."


def _queries(request: ExportRequest, specs: Sequence[StudySpec]) -> Iterator[str]:
    yield "## Queries"
    if not specs:
        yield "There is no study file any more for what was exported."
    for spec in specs:
        query = _redacted(spec.query) if request.pseudonymous else spec.query
        lines = [
            f"  {group}: {json.dumps(condition, ensure_ascii=False, default=list)}"
            for group, conditions in query.items()
            for condition in conditions
        ]
        yield f"Study `{spec.name}`, {spec.start} to {spec.end or 'now'}, as it was declared when this was exported:"
        yield "\n".join(["```", *lines, "```"])
        rule = spec.comments
        more = {"sample": f" (share {rule.fraction:g}, seed {rule.seed})", "top": f" ({rule.n} of a day)"}
        panel = f"a panel of {len(spec.panel):,} accounts" if spec.panel else "no panel"
        yield (
            f"Comments: of {rule.videos} videos{more.get(rule.videos, '')}, replies: {rule.replies}. "
            f"Profiles: {spec.users.who}. Lists: {panel}, {spec.observe}."
        )


def _redacted(query: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The query without the values that point to people."""
    return {
        group: [
            dict(condition) | {"field_values": f"{len(condition['field_values'])} left out"}
            if condition["field_name"] in PERSONAL_FIELDS
            else dict(condition)
            for condition in conditions
        ]
        for group, conditions in query.items()
    }


def _coverage(request: ExportRequest, held: Sequence[CoverageCount]) -> Iterator[str]:
    yield "## Coverage"
    if not held:
        yield "Nothing is known of what was asked."
        return
    yield f"Units of work (days of a search, comment lists, accounts) of the exported studies; {_days(request)}."
    lines = [
        "| study | entity | state | units | rows asked for | raw hits offered | rows kept |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for one in held:
        numbers = " | ".join("" if n is None else f"{n:,}" for n in (one.units, one.asked, one.offered, one.kept))
        lines.append(f"| {one.study} | {one.entity} | {one.state} | {numbers} |")
    yield "\n".join(lines)
    yield "The gap between offered and kept is what was deleted, made private or moderated."


def _reading(request: ExportRequest) -> Iterator[str]:
    if not request.ids_only:
        yield "## Reading it"
        yield "\n".join(f"- {FORMAT_NOTES[form].replace('id_', TEXT_ID_PREFIX)}" for form in request.formats)


def _caveats(export: "Export") -> Iterator[str]:
    request = export.request
    yield "## To know before counting"
    counts = "Counts are as old as their observation, and up to 10 days older: see `last_seen_at` and `observed_at`."
    lines = [
        *([] if request.ids_only else [counts]),
        "Only what was public and delivered is held. See the coverage before taking a gap for silence.",
        "Lists of followers, likes and reposts are cut by the API, and private ones are missing.",
    ]
    if "epochs" in export.rows:
        lines.append("`epochs` lists the known breaks in the API's data: new fields, changed rules, failures.")
    if request.first or request.last:
        lines.append("Days are those of each table's own clock: of publication, or of observation for accounts.")
    if request.pseudonymous:
        lines.append(
            "A pseudonym is not anonymity. Texts are verbatim but for mentions, links, addresses and ids, so they can "
            "be searched for; names without @ stay in them; hashtags can be names; exact times and counts can point "
            "to a video."
        )
    yield "\n".join(f"- {line}" for line in lines)


def _use(export: "Export", simulated: bool) -> Iterator[str]:
    yield "## Use and citation"
    yield TERMS_NOTE
    yield (
        f"> {'Simulated data' if simulated else 'Data'}: TikTok Research API "
        f"(https://developers.tiktok.com/products/research-api/), collected with {software_version()}, exported "
        f"{export.made_at:%Y-%m-%d}, `{export.folder.name}`."
    )
    yield "State beside it the queries, the days and the coverage above."
