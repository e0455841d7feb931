"""Run the benchmarks and print one table. The exit code is 1 if a bound is missed or a benchmark fails."""

import math
import os
import pkgutil
import traceback
from collections.abc import Iterable, Iterator
from importlib import import_module

import click
from rich.console import Console
from rich.table import Table

import research_assets_tests.benchmarks as package
from research_assets.settings import ENV_FILE
from research_assets_tests.benchmarks import Row

PREFIX = "bench_"


def names() -> list[str]:
    """Return the names of the benchmarks."""
    modules = (module.name for module in pkgutil.iter_modules(package.__path__))
    return sorted(name.removeprefix(PREFIX) for name in modules if name.startswith(PREFIX))


def measure(name: str) -> Iterator[Row]:
    """Yield the rows of one benchmark as they are measured."""
    rows: Iterable[Row] = import_module(f"{package.__name__}.{PREFIX}{name}").run()
    yield from rows


def table(rows: Iterable[Row]) -> Table:
    """Return a table of figures and their bounds."""
    result = Table("case", title="Figures and bounds", box=None, pad_edge=False, title_justify="left")
    for heading in ("measured", "bound"):
        result.add_column(heading, justify="right", no_wrap=True)
    for heading in ("unit", "", "note"):
        result.add_column(heading)
    for row in rows:
        bound = "" if row.bound is None else f"{row.sense} {_number(row.bound)}"
        outcome = "" if row.bound is None else ("met" if row.kept else "MISSED")
        style = None if row.kept else "bold red"
        result.add_row(row.case, _number(row.measured), bound, row.unit, outcome, row.note, style=style)
    return result


def _number(value: float) -> str:
    """Format whole numbers and numbers from 1,000 without decimals, others with three significant digits."""
    if not math.isfinite(value):
        return str(value)
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:.3g}"


@click.command()
@click.argument("cases", nargs=-1, metavar="[NAME]...")
@click.option("--list", "only_list", is_flag=True, help="Print the names of the benchmarks.")
def main(cases: tuple[str, ...], only_list: bool) -> None:
    """Run the named benchmarks. Default: all."""
    if only_list:
        click.echo("\n".join(names()))
        return
    if unknown := set(cases) - set(names()):
        raise click.UsageError(f"There is no benchmark {', '.join(sorted(unknown))}. Known: {', '.join(names())}.")
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
            # The failure is printed and counted. It does not stop the other benchmarks.
            failed.append(name)
            traceback.print_exc()
    console.print()
    console.print(table(rows))
    missed = [row.case for row in rows if not row.kept]
    if failed or missed or not rows:
        problems = [f"missed: {', '.join(missed)}"] * bool(missed) + [f"failed: {', '.join(failed)}"] * bool(failed)
        raise click.ClickException("; ".join(problems) or "nothing was measured")


if __name__ == "__main__":
    # A .env file beside the checkout may contain credentials of the real API.
    os.environ[ENV_FILE] = os.devnull
    main()
