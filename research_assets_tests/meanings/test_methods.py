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
    assert {truth.state(name) for name in observed if name not in world.harness.app.world.renamed} == {"open"}
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


def test_yield_is_that_of_the_first_observation_and_attrition_is_apart(world: MovingWorld) -> None:
    first, newest = world.hits[0], world.hits[-1]
    [row] = world.rows(
        "select sum(first_offered), sum(first_kept), sum(offered), sum(kept), sum(n_videos), sum(n_not_returned) "
        f"from marts.study_days where study = '{SAMPLE.name}'"
    )
    returned = {video for hits in world.hits for video in hits.deliverable}
    n_gone = len(returned - set(newest.deliverable))
    counts = [len(hits) for hits in (first.raw, first.deliverable, newest.raw, newest.deliverable, returned)]
    assert row == (*counts, n_gone)
    assert len(newest.deliverable) / len(newest.raw) < len(first.deliverable) / len(first.raw) - 0.05
    text = methods(world, "Yield")
    assert (
        f"At the first complete observation of each day, the API reported {len(first.raw)} matching videos, of which "
        f"{len(first.deliverable)} ({format_share(len(first.deliverable), len(first.raw))}; 95 % confidence interval "
    ) in text
    n_added = len(returned - set(first.deliverable))
    text = methods(world, "Attrition")
    assert (
        f"Of {len(returned)} distinct videos, {n_added} ({format_share(n_added, len(returned))}) were not returned"
        in text
    )
    assert f"{n_gone} ({format_share(n_gone, len(returned))}) were not returned again by the newest one" in text


def test_ages_are_those_of_the_observations(world: MovingWorld) -> None:
    text = methods(world, "Retrieval")
    # The first observation ended nine hours into 10 February; the days are those from 1 to 7 February.
    assert "The 7 complete days were first collected at a median age of 5.4 days (range 2.4 to 8.4 days)" in text
    assert "no earlier than" not in text
    ages = world.harness.sql(
        "select median(age), min(age), max(age), count(*) from (select min(epoch(observed_at) - create_time) / 86400 "
        f"as age from {{videos}} where study = '{SAMPLE.name}' group by id)"
    )
    [(median, youngest, oldest, videos)] = ages
    assert (
        f"for the first time at a median age of {format_number(median)} days (range {format_number(youngest)} to "
        f"{format_number(oldest)} days) ({videos} videos)"
    ) in text


def test_paragraphs_are_in_the_order_of_reporting_standards(world: MovingWorld) -> None:
    data = read_report_data(world.settings, SAMPLE.name)
    section = methods_section(data, SAMPLE, "https://open.tiktokapis.com", world.harness.clock.now())
    assert [sentence[0] for sentence in section.sentences if isinstance(sentence, tuple)] == [
        "Data access",
        "Target population",
        "Retrieval",
        "Yield",
        "Attrition",
        "Comments",
        "Accounts",
        "Sampling",
        "Missing data",
        "Requests",
        "API changes",
        "Software",
        "Data availability",
    ]


def test_missing_comments_name_the_share_of_videos_and_views(world: MovingWorld) -> None:
    rows = world.rows(
        "select count(*), sum(v.view_count), (select sum(view_count) from marts.videos where study = c.study), "
        "(select count(*) from marts.videos where study = c.study) from marts.coverage as c join marts.videos as v "
        "on v.study = c.study and v.video_id::varchar = c.unit where c.entity = 'comments' and c.unit_kind = 'video' "
        f"and c.state = 'refused' and c.study = '{SAMPLE.name}' group by c.study"
    )
    [(videos, views, all_views, all_videos)] = rows
    assert videos > 0
    assert (
        f"{format_share(videos, all_videos)} of the videos with {format_share(views, all_views)} of the views"
    ) in methods(world, "Missing data")
