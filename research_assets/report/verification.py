"""The section of a report on verification: which stored items still exist, and what was withdrawn.

Not here: the verification itself (see compliance/verification/).
"""

from research_assets.planning.messages import pluralize
from research_assets.report.data import ReportData
from research_assets.report.elements import ReportSection, ReportTable, number_columns, text_columns, time_columns
from research_assets.report.formatting import format_number, format_share, format_time, join_words, was_were

_FOUND_BY = {
    "forgotten": "at the request of a person",
    "compliance": "by batch compliance",
    "lookup": "by a search for the item",
}


def verification_section(data: ReportData) -> ReportSection:
    """Return the section: items by kind with their verification, and withdrawn items by kind and cause."""
    meaning = (
        "An item counts as verified when it was collected, or when the API confirmed later that it still exists. It is "
        "overdue when that is longer ago than the interval of the project (RESEARCH_VERIFY_DAYS)."
    )
    sentences = [meaning if data.verified else "No video or comment of this study is stored."]
    for one in data.verified:
        sentences.append(
            f"Of {pluralize(one.n_items, one.kind)}, {format_number(one.n_verified)} "
            f"({format_share(one.n_verified, one.n_items)}) {was_were(one.n_verified)} confirmed after their last "
            f"collection; {format_number(one.n_overdue)} {was_were(one.n_overdue)} overdue when the marts were built."
        )
    if data.withdrawn:
        parts = [
            f"{pluralize(one.n_items, one.kind)} {_FOUND_BY.get(one.found_by, one.found_by)}" for one in data.withdrawn
        ]
        sentences.append(
            f"Withdrawn in all studies of the project, and in no table any more: {join_words(parts)}. The comments of "
            "withdrawn videos are removed as well and not counted here."
        )
    else:
        sentences.append("No item was withdrawn.")
    verified = [
        [one.kind, format_number(one.n_items), format_number(one.n_verified), format_number(one.n_overdue),
         format_time(one.oldest_verified_at), format_time(one.first_due_at)]
        for one in data.verified
    ]  # fmt: skip
    withdrawn = [
        [one.kind, one.found_by, format_number(one.n_items), str(one.first_day), str(one.last_day)]
        for one in data.withdrawn
    ]
    tables = []
    if verified:
        columns = [
            *text_columns("kind"),
            *number_columns("stored", "verified", "overdue"),
            *time_columns("oldest verification", "next due"),
        ]
        tables.append(ReportTable("Verification by kind", columns, verified, note="Times are UTC."))
    if withdrawn:
        columns = [*text_columns("kind", "found by"), *number_columns("items"), *time_columns("first day", "last day")]
        tables.append(ReportTable("Withdrawn items", columns, withdrawn, note="Days are UTC days."))
    return ReportSection("verification", "Verification and withdrawals", sentences, [], tables)
