"""What the studies want, as a table: every unit that is known of without asking, and no other."""

from collections import Counter
from dataclasses import replace
from datetime import date, timedelta

from research_assets.collect.spec import StudySpec, UserRule
from research_assets.collect.wanted import wanted_units, write_wanted
from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import Settings
from research_assets_tests.collect.lab import START, Lab, days
from research_assets_tests.collect.test_lists import garden, this_week


async def test_days_videos_and_accounts_are_wanted_as_far_as_they_are_known(settings: Settings) -> None:
    lab = Lab(settings, SandboxConfig())
    spec = garden(end=START + timedelta(days=40), users=UserRule("panel"))
    await lab.collect("videos", days(2, START + timedelta(days=27)), spec)
    await lab.collect("users", [this_week(lab)], spec)
    lab.clock.advance(days=7)
    rows = list(wanted_units(lab.settings.raw, spec, lab.clock.now()))
    found = Counter((row["entity"], row["unit_kind"]) for row in rows)
    assert found["videos", "day"] == 41
    assert found["comments", "day"] == 39
    assert found["comments", "video"] == lab.sql("SELECT count(*) FROM {videos} WHERE comment_count > 0")[0][0]
    assert {row["partition"] for row in rows if row["unit_kind"] == "video"} == set(days(2, START + timedelta(days=27)))
    # The study is over: what was observed once since is not wanted again.
    assert found["users", "account"] == len(spec.panel)
    assert found["followers", "account"] == len(spec.panel)
    write_wanted(lab.settings.raw, [spec], lab.clock.now())
    assert lab.sql("SELECT count(*) FROM {wanted}") == [(len(rows),)]


async def test_no_period_is_wanted_after_the_last_observation_of_a_study_that_is_over(settings: Settings) -> None:
    lab = Lab(settings, SandboxConfig())
    spec = garden(end=START + timedelta(days=1), users=UserRule("panel"))
    await lab.collect("users", [this_week(lab)], spec)
    observed = this_week(lab)
    lab.clock.advance(days=21)

    def wanted(one: StudySpec) -> set[date]:
        rows = wanted_units(lab.settings.raw, one, lab.clock.now())
        return {row["partition"] for row in rows if row["entity"] == "users"}

    assert wanted(spec) == {observed}
    assert len(wanted(replace(spec, end=None))) == 4
