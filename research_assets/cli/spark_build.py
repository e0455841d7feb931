"""`research-assets spark-build`: build the marts with Spark and publish them as Parquet files."""

from pathlib import Path

import click


@click.command("spark-build")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Publish in this folder. Default: spark-output in the data folder.",
)
@click.option(
    "--master",
    default="local[*]",
    show_default=True,
    metavar="URL",
    help="Start a driver for this cluster, such as spark://10.0.0.1:7077.",
)
@click.option("--thrift", metavar="HOST:PORT", help="Use the Thrift server of a cluster instead of a driver.")
@click.option("--conf", "conf", multiple=True, metavar="NAME=VALUE", help="Set a Spark property; may be repeated.")
@click.option("--full-refresh", is_flag=True, help="Build everything again. Default: only the days that changed.")
def command(output: Path | None, master: str, thrift: str | None, conf: tuple[str, ...], *, full_refresh: bool) -> None:
    """Build all marts with Spark, test them, and publish them as Parquet files. Sends no request.

    Needs Java 17 and the extra `spark`. Notebooks, reports and exports read the result if RESEARCH_MARTS names the
    folder. docs/scaling.md says when this is worth it.
    """
    from research_assets.cli.environment import data_settings
    from research_assets.clock import SystemClock
    from research_assets.warehouse.spark import SparkOptions, build_on_spark

    properties = dict(_pair(text, "=", "--conf") for text in conf)
    address = None
    if thrift is not None:
        host, port = _pair(thrift, ":", "--thrift")
        if not port.isdecimal():
            raise click.BadParameter(f"{thrift} has no number as port. Write it as HOST:PORT.", param_hint="--thrift")
        address = (host, int(port))
    settings = data_settings()
    options = SparkOptions(master=master, thrift=address, conf=properties)
    output = output or settings.root / "spark-output"
    build = build_on_spark(settings, output, now=SystemClock().now(), options=options, full_refresh=full_refresh)
    kind = "an increment" if build.is_increment else "a full refresh"
    click.echo(f"Published {build.folder}, {kind}. {len(build.seconds)} models and tests succeeded.")


def _pair(text: str, separator: str, option: str) -> tuple[str, str]:
    name, found, value = text.rpartition(separator) if separator == ":" else text.partition(separator)
    if not found or not name:
        raise click.BadParameter(f"{text!r} is not of the form {'NAME' + separator + 'VALUE'}.", param_hint=option)
    return name, value
