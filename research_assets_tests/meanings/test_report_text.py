"""The report states no cause that the API does not give, and shows what shows that the query works."""

from research_assets.report.formatting import format_share
from research_assets.report.methods import methods_section
from research_assets.report.queries import read_report_data
from research_assets.report.sections import coverage_section
from research_assets_tests.meanings.moving_world import SAMPLE, MovingWorld


def test_report_shows_the_canary_checks(world: MovingWorld) -> None:
    section = coverage_section(read_report_data(world.settings, SAMPLE.name))
    canaries = [int(unit) for (unit,) in world.rows("select unit from marts.coverage where unit_kind = 'canary'")]
    found, n = sum(video in world.findable for video in canaries), len(canaries)
    assert 0 < found < n
    assert f"on 1 day: {found} of {n} videos ({format_share(found, n)}) were found" in str(section.sentences)
    [table] = [table for table in section.tables if table.caption == "Canary checks"]
    assert [row[1:] for row in table.rows] == [[str(n), str(found), str(n - found)]]


def test_report_states_no_cause_of_missing_videos(world: MovingWorld) -> None:
    data = read_report_data(world.settings, SAMPLE.name)
    texts = str(coverage_section(data).sentences) + str(
        methods_section(data, SAMPLE, "sandbox", world.harness.clock.now()).sentences
    )
    assert "which gives no reason" in texts
    for cause in ("deleted", "made private", "moderated"):
        assert cause not in texts
