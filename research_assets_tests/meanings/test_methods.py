"""The numbers of the methods section are those of the world: distinct units, and waves apart."""

from collections import defaultdict

from research_assets.report.formatting import format_number, format_share
from research_assets.report.methods import methods_section
from research_assets.report.queries import read_report_data
from research_assets_tests.meanings.moving_world import SAMPLE, WEEKS, MovingWorld


def methods(world: MovingWorld, heading: str) -> str:
    """Return a paragraph of the methods section of the first study."""
    data = read_report_data(world.settings, SAMPLE.name)
    section = methods_section(data, SAMPLE, "sandbox", world.harness.clock.now())
    return dict(sentence for sentence in section.sentences if isinstance(sentence, tuple))[heading]


def test_accounts_are_counted_once_and_waves_apart(world: MovingWorld) -> None:
    states = defaultdict[str, list[str]](list)
    for unit, state in world.harness.sql(
        f"select unit, state from {{coverage}} where study = '{SAMPLE.name}' and entity = 'users' "
        'qualify row_number() over (partition by unit, "partition" order by last_at desc) = 1'
    ):
        states[unit].append(state)
    truth = world.harness.app.ground_truth
    observed = [name for name, found in states.items() if "complete" in found]
    assert {truth.state(name) for name in states if name not in observed} == {"refused", "private"}
    assert {truth.state(name) for name in observed} == {"open"}
    text = methods(world, "Accounts")
    n, m = len(observed), len(states)
    assert f"in {WEEKS} waves. Of {m} accounts, {n} ({format_share(n, m)}) were observed at least once" in text
    planned = sum(len(found) for found in states.values())
    complete = sum(found.count("complete") for found in states.values())
    assert (
        f"Of {format_number(planned)} planned observations of an account in a wave, {format_number(complete)} (" in text
    )


def test_missing_units_are_distinct(world: MovingWorld) -> None:
    [(units, missing)] = world.harness.sql(
        "select count(*), count(*) filter (not done) from (select bool_or(state = 'complete') as done from {coverage} "
        f"where study = '{SAMPLE.name}' and (entity <> 'videos' or unit_kind = 'day') group by entity, unit_kind, unit)"
    )
    assert f"each account counts once), {missing} ({format_share(missing, units)}) were missing" in methods(
        world, "Missing data"
    )
