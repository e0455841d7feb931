"""Complete observations of days, and what later ones did not return, equal the truth about a world that moves."""

from collections import defaultdict
from datetime import UTC, date, datetime

from research_assets.estimates.yields import estimate_yield
from research_assets.report.formatting import format_interval, format_number, format_percent
from research_assets.report.queries import read_report_data
from research_assets.report.rounds import rounds_section
from research_assets.sandbox.ground_truth import DayHits
from research_assets_tests.meanings.moving_world import SAMPLE, MovingWorld


def truth_by_day(world: MovingWorld) -> dict[date, list[DayHits]]:
    """Return the raw hits and the deliverable videos of each day at each observation."""
    days = defaultdict[date, list[DayHits]](list)
    for hits in world.hits:
        parts: dict[date, tuple[list[int], list[int]]] = {
            day: ([], []) for day in SAMPLE.days_until(world.harness.clock.now())
        }
        for which, videos in enumerate((hits.raw, hits.deliverable)):
            for identity in videos:
                video = world.harness.app.world.video(identity)
                assert video is not None
                parts[datetime.fromtimestamp(video.create_time, UTC).date()][which].append(identity)
        for day, (raw, deliverable) in parts.items():
            days[day].append(DayHits(tuple(raw), tuple(deliverable)))
    return days


def searches(world: MovingWorld, number: int) -> list[list[date]]:
    """Return the days that were searched together, at one observation of them. Their hits are known as a sum."""
    return [
        days
        for (days,) in world.rows(
            f"select list(day order by day) from marts.observation_rounds where study = '{SAMPLE.name}' and "
            f"round_number = {number} group by capture, started_at order by min(day)"
        )
    ]


def test_rounds_are_those_of_the_world(world: MovingWorld) -> None:
    expected = []
    for day, observations in sorted(truth_by_day(world).items()):
        known, returned = set[int](), [set(hits.deliverable) for hits in observations]
        for number in range(len(observations)):
            found, later = returned[number], set().union(*returned[number:])
            before = set().union(*returned[: max(0, number - 1)])
            lost = {video for video in known if video not in later}
            at_risk = {video for video in known if number == 0 or video in set().union(*returned[number - 1 :])}
            again = found & known
            reappeared = {video for video in again & before if video not in returned[number - 1]}
            expected.append(
                (day, number + 1, len(found), len(found), len(found - known), len(again),
                 len(reappeared), len(known - found), len(at_risk), len(lost & at_risk), number == len(returned) - 1)
            )  # fmt: skip
            known |= found
    rows = world.rows(
        "select day, round_number, kept, n_returned, n_first_seen, n_seen_again, n_reappeared, n_missed, "
        f"n_at_risk, n_lost, is_newest from marts.observation_rounds where study = '{SAMPLE.name}' order by 1, 2"
    )
    assert rows == expected
    assert sum(row[9] for row in rows) > 50
    days = truth_by_day(world)
    offered = {
        (day, number): count
        for day, number, count in world.rows(
            f"select day, round_number, offered from marts.observation_rounds where study = '{SAMPLE.name}'"
        )
    }
    for number in range(1, len(world.hits) + 1):
        for together in searches(world, number):
            raw = sum(len(days[day][number - 1].raw) for day in together)
            assert sum(offered[day, number] for day in together) == raw


def test_videos_name_the_first_observation_that_missed_them(world: MovingWorld) -> None:
    days = truth_by_day(world)
    starts = {
        (day, number): started_at
        for day, number, started_at in world.rows(
            f"select day, round_number, started_at from marts.observation_rounds where study = '{SAMPLE.name}'"
        )
    }
    rows = world.rows(
        "select day, video_id, is_delivered, missed_at, n_rounds_missed from marts.videos "
        f"where study = '{SAMPLE.name}'"
    )
    for day, video, is_delivered, missed_at, n_rounds_missed in rows:
        seen = [number for number, hits in enumerate(days[day], 1) if video in hits.deliverable]
        assert is_delivered == (seen[-1] == len(days[day]))
        assert missed_at == (None if is_delivered else starts[day, seen[-1] + 1])
        assert n_rounds_missed == len(days[day]) - seen[0] + 1 - len(seen)
    gone = {row[1] for row in rows if not row[2]}
    assert world.withdrawn & {row[1] for row in rows} <= gone


def test_report_has_the_yield_and_the_survival_with_intervals(world: MovingWorld) -> None:
    days, data = truth_by_day(world), read_report_data(world.settings, SAMPLE.name)
    found = estimate_yield(
        [
            (sum(len(days[day][0].raw) for day in together), sum(len(days[day][0].deliverable) for day in together))
            for together in searches(world, 1)
        ]
    )
    assert found is not None
    assert data.first_yield == found
    section = rounds_section(data)
    text = " ".join(str(sentence) for sentence in section.sentences)
    assert f"returned {format_number(found.returned)} ({format_percent(found.share)}; " in text
    assert f"; {format_interval(found.interval())})" in text
    share = 1.0
    for number, one in enumerate(data.rounds):
        if number:
            at_risk = lost = 0
            for hits in days.values():
                returned = [set(one.deliverable) for one in hits]
                still = set().union(*returned[:number]) & set().union(*returned[number - 1 :])
                at_risk += len(still)
                lost += len(still - set().union(*returned[number:]))
            share *= 1 - lost / at_risk
            assert one.survival is not None
            assert (one.survival.at_risk, one.survival.lost) == (at_risk, lost)
            assert abs(one.survival.share - share) < 1e-9
            assert (one.survival.jackknife or 0) > 0
    counts, survival = section.tables
    assert [row[0] for row in survival.rows] == [str(number) for number in range(2, len(world.hits) + 1)]
    assert [row[0] for row in counts.rows] == [str(number) for number in range(1, len(world.hits) + 1)]
    assert f"an estimated {format_percent(share)} of the videos are still returned" in text
