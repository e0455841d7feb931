"""Run the benchmarks and print one table; exit code 1 if a bound was missed or a benchmark failed."""

import math
import pkgutil
import traceback
from collections.abc import Iterable, Iterator
from importlib import import_module

import click
from rich.console import Console
from rich.table import Table

import research_assets_tests.benchmarks as here
from research_assets_tests.benchmarks import Row

PREFIX = "bench_"


def names() -> list[str]:
    """The benchmarks that there are."""
    return sorted(m.name.removeprefix(PREFIX) for m in pkgutil.iter_modules(here.__path__) if m.name.startswith(PREFIX))


def measure(name: str) -> Iterator[Row]:
    """The rows of one benchmark, as they are measured."""
    rows: Iterable[Row] = import_module(f"{here.__name__}.{PREFIX}{name}").run()
    yield from rows


def table(rows: Iterable[Row]) -> Table:
    """Each figure with its bound beside it."""
    drawn = Table("case", title="What was promised, and what is", box=None, pad_edge=False, title_justify="left")
    for heading in ("measured", "bound"):
        drawn.add_column(heading, justify="right", no_wrap=True)
    for heading in ("unit", "", "note"):
        drawn.add_column(heading)
    for row in rows:
        bound = "" if row.bound is None else f"{row.sense} {_number(row.bound)}"
        verdict = "" if row.bound is None else ("kept" if row.kept else "MISSED")
        style = None if row.kept else "bold red"
        drawn.add_row(row.case, _number(row.measured), bound, row.unit, verdict, row.note, style=style)
    return drawn


def _number(value: float) -> str:
    """Whole numbers whole, others with three significant digits."""
    if not math.isfinite(value):
        return str(value)
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:.3g}"


@click.command()
@click.argument("cases", nargs=-1, metavar="[NAME]...")
@click.option("--list", "only_list", is_flag=True, help="Name the benchmarks and stop.")
def main(cases: tuple[str, ...], only_list: bool) -> None:
    """Measure what the project promises; without names, all of it."""
    if only_list:
        click.echo("\n".join(names()))
        return
    if unknown := set(cases) - set(names()):
        raise click.UsageError(f"No benchmark is called {', '.join(sorted(unknown))}. There are: {', '.join(names())}.")
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 140
    rows: list[Row] = []
    failed: list[str] = []
    for name in cases or names():
        console.print(f"Measuring {name} ...")
        try:
            for row in measure(name):
                rows.append(row)
                console.print(f"  {row.case}: {_number(row.measured)} {row.unit}" + ("" if row.kept else "  MISSED"))
        except Exception:
            # The others are still worth measuring; the failure is shown and counted.
            failed.append(name)
            traceback.print_exc()
    console.print()
    console.print(table(rows))
    missed = [row.case for row in rows if not row.kept]
    if failed or missed or not rows:
        bad = [f"missed: {', '.join(missed)}"] * bool(missed) + [f"failed: {', '.join(failed)}"] * bool(failed)
        raise click.ClickException("; ".join(bad) or "nothing was measured")


if __name__ == "__main__":
    main()
