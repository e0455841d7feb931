"""`research-assets audit`: measure the share of listed videos that the API returns, with confidence intervals."""

from pathlib import Path

import click


@click.command("audit")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--column", metavar="NAME", help="Read ids or links from this column. Default: id, video_id, link or url."
)
@click.option(
    "--group-by",
    "group",
    metavar="NAME",
    help="Report shares by the classes in this column. A data download is reported by its lists without it.",
)
@click.option(
    "--cluster",
    metavar="NAME",
    help="Column of what videos were drawn with, such as donors. Intervals allow for clusters of similar videos.",
)
@click.option(
    "--exposures",
    metavar="NAME",
    help="Column with how often the video of a line was seen. Shares are then of exposures, not of videos.",
)
@click.option("--name", metavar="NAME", help="Set the name of the audit. Default: the file's name.")
@click.option(
    "--ids-are-exact", is_flag=True, help="Accept ids that end in zeros as rounded ids do. Default: refuse them."
)
@click.option("--yes", is_flag=True, help="Send the requests without a confirmation prompt.")
def command(
    file: Path,
    column: str | None,
    group: str | None,
    cluster: str | None,
    exposures: str | None,
    name: str | None,
    ids_are_exact: bool,
    yes: bool,
) -> None:
    """Measure the share of the videos in FILE that the API returns, by class and month of upload.

    FILE is a CSV file with ids or links, with or without a header, TikTok's data download (zip, JSON or text), or a
    file of Zeeschuimer or 4CAT. Sends at least one request per 100 ids. A video of several classes counts in each. Each
    share has a 95 % confidence interval, which applies to lists drawn in the same way: Wilson's for independent videos,
    with --cluster that of a ratio of cluster totals. Results are stored below audits/ in the data folder. Run the
    command again to resume an interrupted audit.
    """
    from rich.table import Table

    from research_assets.cli.environment import LISTED_IDS, announce_simulation, api_settings
    from research_assets.cli.id_lists import confirm_cost, list_name, print_list, run_id_list
    from research_assets.cli.terminal import Terminal, print_warning
    from research_assets.clock import SystemClock
    from research_assets.collect.id_lists.audit import (
        design_effect,
        few_clusters_warning,
        interval_note,
        return_rates,
        write_results,
    )
    from research_assets.collect.id_lists.reader import IdListError, leave_out_withdrawn, read_id_list
    from research_assets.collect.id_lists.run import IdListProgress, IdListTask
    from research_assets.storage.captures import Journal
    from research_assets.storage.withdrawals import read_withdrawn

    console = Terminal()
    now = SystemClock().now()
    listed = read_id_list(
        file, now, column=column, group=group, cluster=cluster, exposures=exposures, ids_are_exact=ids_are_exact
    )
    if not listed.videos:
        raise IdListError(
            f"An audit needs videos, but {file} lists comments only. No request was sent. Use a list of videos."
        )
    with api_settings(known_ids=LISTED_IDS) as settings:
        announce_simulation(settings)
        listed, n_withdrawn = leave_out_withdrawn(listed, read_withdrawn(settings.state))
        print_list(console, listed)
        if n_withdrawn:
            console.print(f"Left out, because of requests for erasure: {n_withdrawn:,} ids. They are not requested.")
        folder = settings.audits / list_name(file, name)
        task = IdListTask("audit", folder.name, listed.videos, settings.audits / "captures", ("id", "create_time"))
        confirm_cost(console, settings, task, now.date(), yes)

        def finish(journal: Journal, progress: IdListProgress) -> None:
            # The results come first: once the journal is sealed, the same command would request all ids again.
            rates = return_rates(listed.videos, progress.states)
            write_results(folder, listed.videos, progress, rates, simulated=settings.is_simulated)
            journal.seal()

        result = run_id_list(console, settings, task, finish)
    rates = return_rates(listed.videos, result.progress.states)
    has_clusters = cluster is not None
    table = Table("class", "month", box=None, pad_edge=False)
    share = "share" if exposures is None else "share of exposures"
    for heading in (
        "listed",
        "checked",
        "returned",
        share,
        "95 % interval",
        *["clusters", "design effect"] * has_clusters,
    ):
        table.add_column(heading, justify="right")
    for rate in rates:
        interval, effect = rate.interval, design_effect(rate)
        table.add_row(
            rate.group,
            rate.month,
            f"{rate.listed:,}",
            f"{rate.answered:,}",
            f"{rate.returned:,}",
            "" if rate.rate is None else f"{rate.rate:.1%}",
            "" if interval is None else f"{interval[0]:.1%} to {interval[1]:.1%}",
            *[f"{len(rate.clusters):,}", "" if effect is None else f"{effect:.1f}"] * has_clusters,
        )
    console.print(table)
    console.print(interval_note(rates, clusters_are_videos=exposures is not None and not has_clusters))
    if has_clusters and (few := few_clusters_warning(rates)):
        print_warning(console, "Few clusters:", few)
    if result.progress.reasons:
        reasons = "; ".join(sorted(set(result.progress.reasons.values()))[:3])
        head = f"{len(result.progress.reasons):,} ids were not checked and are part of no share:"
        print_warning(console, head, f"{reasons}.")
    ids, summary = write_results(folder, listed.videos, result.progress, rates, simulated=settings.is_simulated)
    console.print(f"State of each id: {ids}\nTable of shares: {summary}\nRequests sent: {result.progress.requests:,}")
