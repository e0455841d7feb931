"""`research-assets replay`: rebuild the raw tables from the captures."""

from collections import Counter

import click


@click.command("replay")
@click.argument("studies", nargs=-1, metavar="[STUDY]...")
def command(studies: tuple[str, ...]) -> None:
    """Rebuild the raw tables from the captures of the named studies. Sends no request.

    Default: all studies. The current tables remain until the new ones are complete. A capture that cannot be read is
    named and keeps its current rows; the exit code is then 1. Stop collection while the command runs. Afterwards
    build the marts with `research-assets build`.
    """
    from research_assets.cli.environment import data_settings
    from research_assets.storage.replay import replay, require_sealed_files

    settings, errors = data_settings(), list[Exception]()
    for name in studies:
        require_sealed_files(settings.captures, name)
    for study in dict.fromkeys(studies) or (None,):
        result = replay(settings.captures, settings.raw, study)
        errors += result.errors
        captures: Counter[str] = Counter()
        rows: Counter[str] = Counter()
        for capture in result.written:
            captures[capture.entity] += 1
            rows[capture.entity] += sum(capture.rows.values())
        click.echo(f"{study or 'All studies'}: {len(result.written)} captures in {settings.raw}")
        for entity in captures:
            click.echo(f"  {entity:<16} {captures[entity]:>7,} captures {rows[entity]:>12,} rows")
    click.echo("The marts still contain the earlier tables. To build them: research-assets build")
    if errors:
        raise click.ClickException("\n".join(map(str, errors)))
