"""`research-assets preregister`: write the document for the preregistration of a study.

Not here: its text (see report/preregistration.py).
"""

from pathlib import Path

import click


@click.command("preregister")
@click.argument("study")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write to this file, which must not exist. Default: preregistration-STUDY.md in the working folder.",
)
def command(study: str, output: Path | None) -> None:
    """Write the preregistration of STUDY as Markdown. Sends no request.

    The document states the query, the days, the sampling and the planned cost, with the SHA-256 of the study and
    the date, and has slots for the analysis. Write it before the first collection; otherwise it states how many days
    were collected. It names no account.
    """
    from research_assets.cli.environment import data_settings
    from research_assets.cli.terminal import Terminal
    from research_assets.clock import SystemClock
    from research_assets.planning.forecast import add_recurring, forecast
    from research_assets.planning.inputs import read_agenda_inputs
    from research_assets.quota.ledger import read_pools
    from research_assets.report.preregistration import Registration, render_preregistration
    from research_assets.storage.files import give_access_of_folder
    from research_assets.study.loader import find_studies
    from research_assets.study.provenance import (
        ProvenanceError,
        collecting_software,
        contents_of,
        read_provenance,
        record_preregistration,
        study_hash,
    )
    from research_assets.units.coverage import count_held
    from research_assets.units.estimates import max_requests_per_period, mean_comment_requests_per_day

    settings = data_settings()
    known = {one.spec.name: one for one in find_studies(settings)}
    if study not in known:
        raise click.UsageError(f"There is no study {study}. Known studies: {', '.join(known) or 'none'}.")
    declared = known[study]
    path = output or Path(f"preregistration-{study}.md")
    if path.exists():
        raise click.UsageError(
            f"{path} exists, and a preregistration is not overwritten. Nothing was written. Name another file with "
            "--output, or move the document away."
        )
    if not path.parent.is_dir():
        raise click.UsageError(
            f"There is no folder {path.parent}. Nothing was written. Create it, or name another file."
        )
    try:
        record = read_provenance(settings, study)
    except ProvenanceError as error:
        raise click.ClickException(f"{error} No preregistration was written.") from None
    clock = SystemClock()
    now = clock.now()
    pools, used = read_pools(settings, clock)
    inputs = read_agenda_inputs(settings, [declared.spec], pools, now, used=used)
    costs = add_recurring(
        forecast(inputs, mean_comment_requests_per_day(settings.raw), now),
        inputs.studies,
        max_requests_per_period(settings.raw),
    )
    registration = Registration(
        declared.spec,
        declared.file.name,
        study_hash(contents_of(declared.spec)),
        len(inputs.hits_per_day[study]),
        collecting_software(),
        settings.is_simulated,
        record.first.sha256 if record.first else "",
    )
    with path.open("x", encoding="utf-8") as file:
        file.write(render_preregistration(registration, costs, now))
    give_access_of_folder(path)
    record_preregistration(settings, declared.spec, now, count_held(settings.raw, study))
    Terminal().print(f"Written to {path}. Complete the slots, then register it together with {declared.file}.")
