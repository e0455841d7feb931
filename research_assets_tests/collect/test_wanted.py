"""What the studies want, as a table: every unit that is known of without asking, and no other."""

from collections import Counter
from datetime import timedelta

from research_assets.collect.spec import UserRule
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
    assert found["users", "account"] == 2 * len(spec.panel)
    assert found["followers", "account"] == len(spec.panel)
    write_wanted(lab.settings.raw, [spec], lab.clock.now())
    assert lab.sql("SELECT count(*) FROM {wanted}") == [(len(rows),)]
