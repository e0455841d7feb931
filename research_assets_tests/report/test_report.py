"""Reports show the contents of the marts, are self-contained, and escape the texts of people."""

import re
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from research_assets.report import REQUIRED_MARTS
from research_assets.report.data import ApiChange, ReportData
from research_assets.report.drawing import END_MARK, START_MARK, change_markers, marker_layers
from research_assets.report.drawing_process import draw_figures
from research_assets.report.methods import methods_section
from research_assets.report.queries import read_report_data
from research_assets.report.rounds import rounds_section
from research_assets.report.sections import (
    coverage_section,
    observations_section,
    threads_section,
    volume_section,
)
from research_assets.report.write import WrittenReport, write_report
from research_assets.settings import Settings
from research_assets.study.spec import CommentRule, StudySpec
from research_assets.warehouse.reader import WarehouseReadError
from research_assets_tests.report.conftest import NOW
from research_assets_tests.report.html_parser import ParsedReport
from research_assets_tests.report.report_warehouse import (
    IMAGE,
    SCRIPT,
    STATES,
    STUDY,
    VIDEOS,
    at,
    contracts,
    garden_rows,
    publish,
    unit,
)

SECTIONS = (
    "volume",
    "observed",
    "rounds",
    "coverage",
    "quota",
    "hashtags",
    "creators",
    "engagement",
    "threads",
    "network",
    "ages",
    "verification",
    "methods",
)


def test_report_data_equal_the_marts(written: WrittenReport) -> None:
    data = written.data
    assert [(day.state, day.videos) for day in data.days] == list(zip(STATES, VIDEOS, strict=True))
    overall = data.overall
    assert (overall.videos, overall.creators, overall.comments, overall.replies) == (6, 2, 1, 2)
    assert (overall.requests, overall.failed, overall.refused) == (25, 5, 1)
    assert [(one.day.day, one.pool, one.answered, one.failed, one.refused) for one in data.daily_requests] == [
        (8, "research", 16, 3, 1),
        (9, "follow", 3, 0, 0),
        (9, "research", 1, 1, 0),
    ]
    views = data.engagement[0]
    assert (views.number, views.zeros, views.median) == (6, 1, 275.0)
    assert [(one.low, one.high, one.number) for one in views.bins] == [
        (4, 8, 1),
        (32, 64, 1),
        (256, 512, 1),
        (4096, 8192, 1),
        (32_768, 65_536, 1),
    ]
    shares = data.engagement[3]
    assert (shares.number, shares.absent, shares.bins) == (6, 6, [])
    assert [(one.name, one.videos, one.other, one.views_median) for one in data.hashtags] == [
        (SCRIPT, 6, 2, 275.0),
        ("garten", 3, 1, 500.0),
    ]
    assert data.n_hashtags == 2
    assert {one.column: one.filled for one in data.column_fill if one.column in ("view_count", "share_count")} == {
        "view_count": 6,
        "share_count": 0,
    }
    assert data.depths == [(0, 1), (1, 1), (2, 1)]
    assert [(one.direction, one.degree, one.accounts, one.share) for one in data.degrees] == [
        ("followers", 2, 1, 1.0),
    ]
    assert [change.title for change in data.api_changes] == ["Goes on", "Broken tags", "New rules"]
    assert [
        (one.day.day, one.n_observations, one.n_first, one.views_median, one.age_median, one.n_young)
        for one in data.observed
    ] == [
        (8, 2, 2, 200.0, 4.0, 2),
        (9, 1, 0, None, None, 0),
    ]


def test_report_states_yield_and_survival(page: ParsedReport) -> None:
    text = page.sections["rounds"]
    assert "of 2 days, the API reported 9 matching videos and returned 5 (55.6 %; 95 %" in text
    # Three videos of the first day were known before its second observation, one of a creator with two was lost.
    assert "After 2 complete observations (median age 7.5 days) an estimated 66.7 % of the videos are still" in text
    assert "missed earlier videos 1 time; 0 videos were returned again" in text
    assert page.tables["rounds"] == 2


def test_report_states_what_was_verified_and_withdrawn(page: ParsedReport) -> None:
    text = page.sections["verification"]
    assert "Of 6 videos, 2 (33.3 %) were confirmed after their last collection; 1 was overdue" in text
    assert (
        "Withdrawn in all studies of the project, and in no table any more: 3 videos by batch compliance and 1 account "
        "at the request of a person." in text
    )
    assert page.tables["verification"]


def test_write_report_creates_two_private_files_only(written: WrittenReport, report_settings: Settings) -> None:
    assert sorted(report_settings.reports.iterdir()) == [written.path, written.codebook]
    assert {path.stat().st_mode & 0o777 for path in report_settings.reports.iterdir()} == {0o600}
    assert report_settings.reports.stat().st_mode & 0o777 == 0o700


def test_report_is_self_contained(page: ParsedReport) -> None:
    page.is_self_contained()
    assert page.links == ["marts-codebook.html"]


def test_report_escapes_texts_of_people(html: str, page: ParsedReport) -> None:
    assert SCRIPT not in html
    assert IMAGE not in html
    assert f"#{SCRIPT}" in page.sections["hashtags"]
    assert f"@{IMAGE}" in page.sections["creators"]
    assert "</pre><script>" in page.sections["methods"]
    assert f"Search of … failed: {SCRIPT}" in page.sections["coverage"]


def test_report_has_every_section_and_links_to_it(page: ParsedReport) -> None:
    assert tuple(page.sections) == SECTIONS
    assert {f"#{name}" for name in SECTIONS} <= {value for name, value in page.attributes if name == "href"}
    assert [identity for identity, times in page.ids.items() if times > 1] == []


def test_every_figure_has_a_table(page: ParsedReport) -> None:
    assert page.figures
    assert all(page.tables[section] for section in page.figures)


def test_references_inside_figures_have_targets(html: str, page: ParsedReport) -> None:
    assert set(re.findall(r"url\(#([^)]+)\)", html)) <= set(page.ids)


def test_report_names_days_that_are_not_complete(html: str, page: ParsedReport) -> None:
    sentence = (
        "2 of 6 days are complete; the others are not: 1 partial, 1 suspicious, 1 quarantined and 1 not requested."
    )
    assert sentence in html
    assert "marks a day that is not complete" in page.sections["volume"]
    assert "3: Broken tags (since 2 February 2026)" in page.sections["volume"]
    for state in ("quarantined", "suspicious", "partial"):
        assert f'id="volume-{state}"' in html


def test_api_change_appears_on_charts_of_its_date_basis(html: str, page: ParsedReport) -> None:
    assert "New rules" not in page.sections["volume"]
    assert "API changes that depend on the collection date are shown in the next section." in page.sections["volume"]
    for section in ("observed", "quota"):
        assert "4: New rules (since 9 February 2026)" in page.sections[section]
        assert "Broken tags" not in page.sections[section]
    assert "1 known API change began before the first of these days" in page.sections["observed"]
    assert "2 in the table of API changes in the methods section" in page.sections["observed"]
    sentence = (
        "Videos were observed between 8 February 2026 and 9 February 2026 (UTC): 2 first observations and 1 later "
        "observation."
    )
    assert sentence in html
    svg_of = dict(re.findall(r'<svg[^>]*aria-label="([^"]*)"(.*?)</svg>', html, re.DOTALL))
    markers = {
        name: re.findall(rf">(\S*\d[{START_MARK}{END_MARK}]|[{START_MARK}{END_MARK}]\d\S*)<", svg)
        for name, svg in svg_of.items()
    }
    assert markers["Videos by day of publication"] == [f"3{START_MARK}"]
    assert markers["Observations of videos by day of collection"] == [f"4{START_MARK}"] * 2
    assert markers["Requests by day"] == [f"4{START_MARK}"] * 2


def test_markers_share_a_label_if_labels_would_overlap() -> None:
    def change(number: int, first: date | None, last: date | None) -> ApiChange:
        return ApiChange(number, "observed", first, last, "day", f"change {number}", "", "")

    ended, one_day, late = date(2026, 2, 9), date(2026, 2, 10), date(2026, 6, 1)
    changes = [change(1, None, ended), change(2, one_day, one_day), change(3, late, None), change(4, None, None)]
    markers = change_markers(changes, date(2026, 1, 1), date(2026, 6, 30))
    assert [(marker.day, marker.label) for marker in markers] == [
        (one_day, "2"),
        (one_day, f"{END_MARK}1"),
        (late, f"3{START_MARK}"),
    ]
    _, labels = marker_layers(markers, date(2026, 1, 1), date(2026, 6, 30))
    assert [row["label"] for row in labels.to_dict()["data"]["values"]] == [f"2, {END_MARK}1", f"3{START_MARK}"]
    # A change that ends on the last day has no line, because no later data exist.
    assert change_markers(changes[:1], date(2026, 1, 1), ended) == []
    assert marker_layers([], date(2026, 1, 1), ended) == []


def test_methods_state_every_fact(page: ParsedReport) -> None:
    methods = page.sections["methods"]
    for text in (
        "These data are simulated",
        "published between 1 February 2026 and 6 February 2026 (UTC)",
        "the creator's country of registration is “DE” or “AT”; and it is not the case that the keyword is",
        "The 2 complete days were first collected at a median age of 5.9 days (range 5.4 to 6.4 days) after the end of",
        "the end of the day; re-observation was planned at an age of 10 days.",
        "Videos were observed for the first time at a median age of 4 days (range 4 to 4 days) (2 videos) after",
        "5 (83.3 %) were younger than 10 days, the documented maximum age of counts at delivery.",
        "Of 6 days, 2 (33.3 %) were complete. At the first complete observation of each day, the API reported",
        "the API reported 9 matching videos, of which 5 (55.6 %; 95 % confidence interval",
        "The other 4 (44.4 %) were reported but not returned; the API gives no reason.",
        "6 distinct videos by 2 creators from all observations.",
        "Of 5 distinct videos of days with a complete observation, 0 (0 %) were not returned by the first",
        "a random sample of 25 % of each day's videos (seed 7), including replies",
        "Of 2 selected videos, 1 (50 %) had a complete comment list",
        "only if the count was observed at least 12 days after the end of the day of publication.",
        "Comments were last requested at a median age of 8.4 days after publication (range 8.4 to 8.4 days; 1 video).",
        "Data were retrieved between 8 February 2026 (10:00 UTC) and 9 February 2026 (11:00 UTC).",
        "Complete lists of comments of 1 of 6 videos (16.7 %) were retained",
        "Of the population, the videos of 4 of 6 days (66.7 %) were missing or incomplete; their number is not known.",
        "1 list of comments refused by the API (Comments of … are closed; 16.7 % of the videos with",
        "The terms of the API do not permit the publication of the data.",
        "25 requests were sent; 4 (16 %) failed and 1 (4 %) was rejected because the daily quota was exhausted.",
        "2 lists of comments were sampled with inclusion probability 0.25 (sampling weight 4)",
        "Profiles of the authors of the videos were observed weekly, in 1 wave.",
        "Of 1 account, 1 (100 %) was observed at least once.",
        "1 of 1 follower list (1 wave; 2 rows in all waves) and 0 of 1 list of followed accounts (1 wave",
        "Of 11 units of collection (days, comment lists, profiles and lists of accounts; each account counts once)",
        "each account counts once), 6 (54.5 %) were missing, by reason:",
        "affected by 3 documented changes or incidents of the API",
        "The following began or ended within these dates: 3: Broken tags (since 2 February 2026); 4: New rules",
        "4: New rules (since 9 February 2026). Data from before and after these changes",
        "The dataset was built on",
        "This report was written on 2 March 2026 (09:00 UTC) with research-assets",
        "duckdb",
        '"operation": "IN", "field_name": "region_code", "field_values": ["DE", "AT"]',
    ):
        assert text in methods, text


def test_reasons_do_not_contain_names_of_units(page: ParsedReport) -> None:
    assert "`username: …` is unknown" in page.sections["coverage"]
    assert "Comments of … are closed" in page.sections["coverage"]


def test_pictures_for_the_ui_are_below_100_kb(written: WrittenReport) -> None:
    assert set(written.pictures) == {"volume", "coverage", "quota"}
    for picture in written.pictures.values():
        assert picture.startswith(b"\x89PNG")
        assert len(picture) < 100_000


def test_report_of_an_empty_study_says_so_in_each_section(settings: Settings) -> None:
    publish(settings, {})
    written = write_report(settings, replace(STUDY, comments=CommentRule("none"), panel=()), NOW)
    page = ParsedReport(written.path.read_text())
    assert tuple(page.sections) == SECTIONS
    assert not page.figures
    assert not written.pictures
    for section in SECTIONS[:-1]:
        assert re.search(r"\b(No|no|Nothing|nothing)\b", page.sections[section]), section
    assert "No day was requested yet." in written.path.read_text()
    # A codebook without columns is not written.
    assert written.codebook is None
    assert page.links == []


def test_report_says_that_no_video_was_ever_found(settings: Settings) -> None:
    states = ("suspicious", "suspicious", "too_fresh")
    days = [
        {
            "study": "garden",
            "day": date(2026, 2, 1 + n),
            "state": state,
            "n_videos": 0,
            "n_not_returned": 0,
            "offered": 0,
            "kept": 0,
        }
        for n, state in enumerate(states)
    ]
    units = [
        unit("videos", "day", f"2026-02-0{1 + n}", state, asked=100, offered=0, kept=0)
        for n, state in enumerate(states)
    ]
    publish(settings, {"study_days": days, "coverage": units})
    page = ParsedReport(write_report(settings, STUDY, NOW).path.read_text())
    assert "No video was ever found for this query. 2 days were searched." in page.sections["volume"]
    assert "the API reported no matching video on any of the 2 searched days" in page.sections["methods"]


def test_volume_of_a_long_study_is_drawn_by_week(settings: Settings) -> None:
    rows = garden_rows()
    [template, *_] = rows["study_days"]
    rows["study_days"] = [template | {"day": date.fromordinal(STUDY.start.toordinal() + n)} for n in range(500)]
    publish(settings, rows)
    section = volume_section(read_report_data(settings, "garden"))
    [figure] = section.figures
    assert "Videos by week" in figure.caption
    assert "1,500 videos of 500 days were collected. Every day is complete." in str(section.sentences[0])
    # 71 weeks and three more days.
    svg = draw_figures([figure])[figure.name].svg
    assert svg.count("videos, complete</title>") == 72


def test_observations_over_a_long_time_are_drawn_by_week(settings: Settings) -> None:
    rows = garden_rows()
    [template, *_] = rows["video_observations"]
    rows["video_observations"] = [template | {"observed_at": at(1) + timedelta(days=n)} for n in range(200)]
    publish(settings, rows)
    data = read_report_data(settings, "garden")
    assert data.observed_step == 7
    # The first of February 2026 was a Sunday.
    assert [(one.day, one.n_observations) for one in data.observed][:2] == [
        (date(2026, 1, 26), 1),
        (date(2026, 2, 2), 7),
    ]
    section = observations_section(data)
    assert "between 1 February 2026 and 19 August 2026" in str(section.sentences[0])
    [figure] = section.figures
    assert "by UTC week of collection" in figure.caption


def test_methods_state_how_counts_of_zero_were_treated(settings: Settings) -> None:
    rows = garden_rows()
    rows["coverage"] += [unit("comments", "video", str(video), "too_fresh", requests=0.0) for video in (12, 13)]
    publish(settings, rows)
    data = read_report_data(settings, "garden")

    def methods(study: StudySpec) -> str:
        return str(methods_section(data, study, "sandbox", NOW).sentences)

    assert "2 videos with an earlier count of zero were not counted as complete. " in methods(
        replace(STUDY, reobserve_days=(12,))
    )
    assert "not counted as complete, and no such observation was planned. " in methods(STUDY)
    assert "considered complete without a request. " in methods(replace(STUDY, count_lag_days=0))


def test_methods_state_that_handles_were_replaced_before_storage(settings: Settings) -> None:
    publish(settings, garden_rows())
    data = read_report_data(settings, "garden")
    for study, is_stated in ((STUDY, False), (replace(STUDY, pseudonymous=True), True)):
        text = str(methods_section(data, study, "sandbox", NOW).sentences)
        assert ("replaced by keyed pseudonyms before" in text) is is_stated


def test_methods_state_playlists_and_repeats(settings: Settings) -> None:
    rows = garden_rows()
    study = replace(STUDY, playlists=True, repeat=0.05)
    publish(settings, rows)
    without = str(methods_section(read_report_data(settings, "garden"), study, "sandbox", NOW).sentences)
    assert "The playlists of the videos had not been requested" in without
    assert "5 % of the complete days, chosen at random, were planned for a second collection" in without
    rows["coverage"] += [
        unit("playlists", "playlist", str(number), state)
        for number, state in ((71, "complete"), (72, "complete"), (73, "missing"))
    ]
    settings.warehouse.unlink()
    publish(settings, rows)
    data = read_report_data(settings, "garden")
    assert "Of 3 playlists, 2 (66.7 %) were observed at least once." in str(
        methods_section(data, study, "sandbox", NOW).sentences
    )


def test_lists_with_more_rows_than_announced_have_a_reason(settings: Settings) -> None:
    rows = garden_rows()
    rows["coverage"] += [unit("comments", "video", "12", offered=9, kept=9, expected=4, completed_at=at(9))]
    publish(settings, rows)
    data = read_report_data(settings, "garden")
    assert "1 list has more retained rows than announced, 5 more in all: the announced number is a count" in str(
        coverage_section(data).sentences
    )
    # A list that is not complete does not count: its rows, and the count of its video.
    rows["coverage"] += [unit("comments", "video", "13", "partial", offered=50, kept=50, expected=60)]
    settings.warehouse.unlink()
    publish(settings, rows)
    data = read_report_data(settings, "garden")
    assert "contained 12 comments; the comment counts of these videos added up to 8. The lists contain more" in str(
        methods_section(data, STUDY, "sandbox", NOW).sentences
    )


def test_canary_check_that_finds_nothing_does_not_show_that_the_api_answered(settings: Settings) -> None:
    rows = garden_rows()
    rows["coverage"] += [unit("videos", "canary", str(video), "suspicious") for video in (10, 11, 12)]
    publish(settings, rows)
    text = str(coverage_section(read_report_data(settings, "garden")).sentences)
    assert "0 of 3 videos (0 %) were found. Either all of them are unavailable, or the API did not answer" in text
    assert "which shows that the API answered" not in text


def test_replies_to_unknown_comments_have_an_unknown_depth(settings: Settings) -> None:
    rows = garden_rows()
    rows["comments"] += [{"study": "garden", "video_id": 10, "comment_id": 4, "is_reply": True}]
    publish(settings, rows)
    text = str(threads_section(read_report_data(settings, "garden")).sentences)
    assert "1 at depth 2 and 1 at an unknown depth; depth 0 is a comment" in text


def test_handles_of_a_renamed_account_are_one_creator_of_a_hashtag(settings: Settings) -> None:
    rows = garden_rows()
    rows["creators"][0] |= {"former_usernames": ["anna_1", "ben"]}
    rows["creators"] += [{"study": "garden", "username": "ben", "n_videos": 1, "n_days": 1}]
    # The handle `ben` had another owner later, so it is a creator of its own.
    for video, username in zip(rows["videos"], (IMAGE, "anna", "anna_1", "anna_1", "ben", "anna"), strict=False):
        video["username"] = username
    publish(settings, rows)
    first = read_report_data(settings, "garden").hashtags[0]
    assert (first.name, first.videos, first.other) == (SCRIPT, 6, 3)


def test_impossible_counts_stop_no_report(settings: Settings) -> None:
    rows = garden_rows()
    for one in rows["videos"][:2]:
        one |= {"view_count": 2**63 - 1, "hashtags": [SCRIPT]}
    rows["coverage"] += [
        unit("comments", "video", str(video), kept=3, expected=count)
        for video, count in ((12, 2**63 - 1), (13, 2**63 - 1), (14, -(2**63)))
    ]
    publish(settings, rows)
    data = read_report_data(settings, "garden")
    assert data.overall.views == pytest.approx(2**64)
    assert data.excess.rows == pytest.approx(2**63)
    assert "added up to 9,223,372,036,854,775,808" in str(methods_section(data, STUDY, "sandbox", NOW).sentences)


def test_sampled_videos_without_comments_are_no_certain_estimate(settings: Settings) -> None:
    rows = garden_rows()
    rows["comments"] = []
    publish(settings, rows)
    data = read_report_data(settings, "garden")
    sample = data.sampled_comments
    assert (sample.estimate, sample.standard_error, sample.mean_error, sample.share_error) == (0, None, None, None)
    text = str(methods_section(data, STUDY, "sandbox", NOW).sentences)
    assert "(with replies) represent 0. " in text


def test_sampled_videos_without_a_request_make_the_total_a_lower_bound(settings: Settings) -> None:
    rows = garden_rows()
    waiting = {"inclusion_probability": 0.25, "requests": 0.0, "last_at": None, "reason": "Expected by the study"}
    lists = [one for one in rows["coverage"] if one["entity"] == "comments" and one["unit_kind"] == "video"]
    rows["coverage"] = [one for one in rows["coverage"] if one not in lists or one["state"] == "complete"]
    rows["coverage"] += [unit("comments", "video", str(video), "not_asked", **waiting) for video in (13, 14)]
    publish(settings, rows)
    data = read_report_data(settings, "garden")
    lower = "2 further sampled videos have no complete list; the total counts them as videos without comments"
    assert lower in str(threads_section(data).sentences)
    assert lower in str(methods_section(data, STUDY, "sandbox", NOW).sentences)


def test_period_that_has_just_begun_hides_no_result_of_the_earlier_ones(settings: Settings) -> None:
    rows = garden_rows()
    before = read_after(settings, rows)
    begun = {"partition_day": date(2026, 2, 9), "requests": 0.0, "last_at": None, "reason": "Expected by the study"}
    rows["coverage"] += [
        unit(entity, "account", name, "not_asked", **begun)
        for entity, name in (("followers", "anna"), ("following", "ben"))
    ]
    settings.warehouse.unlink()
    after = read_after(settings, rows)
    assert after.follow_lists == before.follow_lists
    assert [one.state for one in after.follow_lists] == ["complete", "missing"]
    assert after.missing == before.missing


def test_report_names_days_outside_of_the_period_of_the_study(settings: Settings) -> None:
    publish(settings, garden_rows())
    shortened = replace(STUDY, start=date(2026, 2, 2), end=date(2026, 2, 4))
    page = write_report(settings, shortened, NOW).path.read_text()
    assert "3 of these days are outside of the study&#39;s period." in page
    text = ParsedReport(page).sections["methods"]
    assert (
        "The data also contain 3 days outside of this period, the first of them 1 February 2026 and the last "
        "6 February 2026, with 4 videos. All numbers of this report include them." in text
    )
    data = read_report_data(settings, "garden")
    assert data.days_outside(STUDY.start, STUDY.end) == data.days_outside(STUDY.start, None) == []


def test_survival_begins_after_the_first_complete_observation(settings: Settings) -> None:
    """A video that only a failed attempt returned, before the first complete observation, is in no risk set."""
    counts = dict.fromkeys(("offered", "kept", "n_first_seen", "n_seen_again", "n_reappeared", "n_missed"), 0)
    row = {"study": "garden", "day": STUDY.start, "age_days": 3.0} | counts
    rounds = [row | {"round_number": number, "started_at": at(4 * number)} for number in (1, 2)]
    seen_and_missed = ((at(2), at(4)), (at(4), None), (at(4), at(8)))
    videos = [
        {"study": "garden", "video_id": n, "day": STUDY.start, "username": f"u{n}", "first_seen_at": seen} | missed
        for n, (seen, missed) in enumerate((a, {"missed_at": b}) for a, b in seen_and_missed)
    ]
    publish(settings, {"observation_rounds": rounds, "videos": videos})
    first, second = read_report_data(settings, "garden").rounds
    assert first.survival is None
    assert second.survival is not None
    assert (second.survival.at_risk, second.survival.lost, second.survival.share) == (2, 1, 0.5)


def test_second_observations_without_known_videos_are_stated(settings: Settings) -> None:
    counts = dict.fromkeys(("offered", "kept", "n_first_seen", "n_seen_again", "n_reappeared", "n_missed"), 0)
    row = {"study": "garden", "day": STUDY.start, "age_days": 3.0} | counts
    publish(settings, {"observation_rounds": [row | {"round_number": number} for number in (1, 2)]})
    text = str(rounds_section(read_report_data(settings, "garden")).sentences)
    assert "No video was known before a second complete observation, so it is not known" in text


def test_report_states_rejected_elements_and_incomplete_waves(settings: Settings) -> None:
    """A study of which every unit was complete once lacks one wave of one account, and elements without an id."""
    rows: dict[str, list[dict[str, Any]]] = {
        "coverage": [
            unit("videos", "day", "2026-02-01", offered=10, kept=7, first_offered=10, first_kept=7),
            unit("users", "account", "anna"),
            unit("users", "account", "anna", "quarantined", partition_day=date(2026, 2, 8)),
        ]
    }
    data = read_after(settings, rows)
    assert "All 2 units of collection were complete at least once. Of 2 planned observations" in methods_of(data)
    assert "1 (50 %) was not complete." in methods_of(data)
    del rows["coverage"][2]
    settings.warehouse.unlink()
    assert "No data were missing: all 2 units of collection were complete." in methods_of(read_after(settings, rows))
    rows["rejected_rows"] = [
        {"study": "garden", "entity": "videos", "field": field} for field in (None, None, "view_count")
    ]
    settings.warehouse.unlink()
    data = read_after(settings, rows)
    text = methods_of(data)
    assert "No data were missing" not in text
    assert "All 2 units of collection were complete. 2 elements of the responses, such as elements without an" in text
    assert "1 value of retained rows was not usable and was left empty." in text
    assert "(30 %) were reported but not returned, or no usable rows (2 elements in all observations)" in text
    assert "Not usable, in the mart rejected_rows: 2 elements and 1 value for videos." in str(
        coverage_section(data).sentences
    )


def methods_of(data: ReportData) -> str:
    """Return the text of the methods section."""
    return " ".join(str(sentence) for sentence in methods_section(data, STUDY, "sandbox", NOW).sentences)


def read_after(settings: Settings, rows: dict[str, list[dict[str, Any]]]) -> ReportData:
    """Publish rows and return the data of their report."""
    publish(settings, rows)
    return read_report_data(settings, "garden")


def test_histogram_of_an_even_distribution_has_even_bars(settings: Settings) -> None:
    rows = garden_rows()
    [template, *_] = rows["videos"]
    # The same number of videos for each factor of views.
    rows["videos"] = [template | {"video_id": n, "view_count": round(64 * 2 ** (n / 100))} for n in range(1200)]
    publish(settings, rows)
    numbers = [one.number for one in read_report_data(settings, "garden").engagement[0].bins]
    assert max(numbers) < 1.15 * min(numbers)


def test_heading_is_the_title_of_the_study_with_its_name(settings: Settings) -> None:
    publish(settings, {})
    html = write_report(settings, replace(STUDY, title="Gardens & <i>balconies</i>"), NOW).path.read_text()
    assert "<h1>Gardens &amp; &lt;i&gt;balconies&lt;/i&gt;</h1>" in html
    assert "Study report (garden)" in html


def test_second_report_replaces_the_first(settings: Settings) -> None:
    publish(settings, {})
    first = write_report(settings, STUDY, NOW)
    second = write_report(settings, STUDY, NOW.replace(year=2027))
    assert first.path == second.path
    assert "written on 2 March 2027" in second.path.read_text()


def test_write_report_names_the_remedy_without_a_warehouse(settings: Settings) -> None:
    with pytest.raises(WarehouseReadError, match="Build the marts first: research-assets build"):
        write_report(settings, STUDY, NOW)
    assert not settings.reports.exists()


def test_write_report_fails_if_a_required_mart_is_missing(settings: Settings) -> None:
    publish(settings, garden_rows(), leave_out="quota_usage")
    with pytest.raises(WarehouseReadError, match="no mart quota"):
        write_report(settings, STUDY, NOW)


def test_report_data_have_no_api_changes_without_that_mart(settings: Settings) -> None:
    publish(settings, garden_rows(), leave_out="api_changes")
    assert read_report_data(settings, "garden").api_changes == []


def test_required_marts_exist() -> None:
    assert set(REQUIRED_MARTS) < set(contracts())
