"""`research-assets score`: precision and recall of a rule from a coding sheet that was filled in."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from research_assets.estimates.proportions import Proportion


@click.command("score")
@click.argument("sheet", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--code", default="code", show_default=True, metavar="COLUMN", help="Read the codes from this column.")
@click.option(
    "--rule",
    default="",
    metavar="COLUMN[=VALUE]",
    help="Score this rule: a column of yes and no, or a value of a column. Default: the study's query.",
)
def command(sheet: Path, code: str, rule: str) -> None:
    """Estimate precision and recall of a rule from a coded SHEET. Sends no request.

    SHEET is the CSV file of `research-assets export --draw`, with 1 or yes, 0 or no in the column `code`. Rows without
    a code are left out. Rows are weighted by 1 / draw_probability. Recall needs a sheet with rows that the rule does
    not select: every row of a study matches its query, so draw from a study with a wider query, and name a column.
    """
    from research_assets.cli.terminal import Terminal
    from research_assets.estimates.proportions import precision, recall
    from research_assets.export.coding import read_sheet

    console = Terminal()
    coded = read_sheet(sheet, code, rule)
    console.print(f"Coded rows: {len(coded.items):,}. Rows without a code, left out: {coded.n_uncoded:,}.")
    console.print(_line("Precision", precision(coded.items), "no coded row is selected by the rule"))
    missing = "no coded row is relevant"
    if all(one.is_selected for one in coded.items):
        missing = (
            "the rule selects every coded row, so the sheet says nothing about relevant rows beyond the rule. Draw "
            "from a wider population and name a --rule"
        )
    console.print(_line("Recall", recall(coded.items), missing))
    console.print(
        "The intervals (95 %, Wilson, with the effective number of rows of unequal weights) assume that codes have no "
        "error and that rows were drawn independently."
        + (
            f" The {coded.n_uncoded:,} rows without a code are missing at random only if nobody chose them."
            if coded.n_uncoded
            else ""
        )
    )


def _line(name: str, found: "Proportion | None", missing: str) -> str:
    if found is None:
        return f"{name}: not estimable, because {missing}."
    return (
        f"{name}: {found.share:.1%} (95 % interval {found.low:.1%} to {found.high:.1%}; {found.hits:,} of {found.n:,} "
        f"rows, effective number {found.effective:,.1f})."
    )
