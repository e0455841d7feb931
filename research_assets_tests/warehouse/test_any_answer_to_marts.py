"""Grammar-made answers, a capture that DuckDB refuses and a damaged one: the marts contain every usable row."""

from collections import Counter
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from research_assets.collect.publish import recover_unpublished
from research_assets.fields import ENTITIES
from research_assets.settings import Settings
from research_assets.storage.captures import capture_of, list_sealed_files
from research_assets.storage.replay import replay
from research_assets.tiktok.pages import ResponsePage
from research_assets_tests.profiles import sized
from research_assets_tests.storage.capture_factory import NOON, SECOND, make_answer, make_capture, make_video
from research_assets_tests.storage.test_any_answer import decode, keys, seal_pages
from research_assets_tests.tiktok.any_answers import any_answer
from research_assets_tests.warehouse.conftest import materialize, query

N_ANSWERS = sized(12, 600).max_examples
"""Answers for each entity."""


UNIT = {"entity": "videos", "partition": "2026-02-01", "unit_kind": "day", "unit": "2026-02-01", "state": "complete"}
UNIT |= {"last_at": NOON.isoformat()}


def seal_answers(root: Path, entity: str) -> list[ResponsePage]:
    """Seal captures of grammar-made answers, of up to 12 pages each; return the pages that the client accepts."""
    random, accepted = Random(f"marts {entity}"), list[ResponsePage]()
    for start in range(0, N_ANSWERS, 12):
        bodies = [any_answer(random, entity, 1000 * number + 1) for number in range(start, start + 12)]
        pages = [page for body in bodies if (page := decode(entity, body)) is not None]
        seal_pages(root, entity, pages)
        accepted += pages
    return accepted


@pytest.mark.timeout(900)
def test_marts_contain_every_usable_row_of_any_answers(settings: Settings) -> None:
    pages = {entity: seal_answers(settings.root, entity) for entity in ENTITIES}
    good, bad = [make_answer("videos", [make_video(900_000 + number)]) for number in range(2)], b'{"data":[]}'
    make_capture(settings.root, "videos", [good[0], bad, good[1]], units=[UNIT])
    damaged = make_capture(settings.root, "videos", [make_answer("videos", [make_video(900_009)])], units=[UNIT])
    damaged.write_bytes(damaged.read_bytes()[:-3])
    for number, (time, views) in enumerate(((2**62, 2**63 - 1), (1_769_950_800_000, -(2**63)))):
        extreme = [make_video(900_020 + n, create_time=time, view_count=views, username="extreme") for n in range(2)]
        header = {"observed_at": NOON + timedelta(days=1 + number)}
        make_capture(settings.root, "videos", [(make_answer("videos", extreme), header)], units=[UNIT])
    for entity in ENTITIES:
        recover_unpublished(settings.captures, settings.raw, entity, "s")
    assert materialize(settings).success
    loaded = {path.stem for path in settings.raw.glob("coverage/study=s/*/*.parquet")}
    assert {capture_of(path) for path in list_sealed_files(settings.captures)} - loaded == {capture_of(damaged)}
    expected: dict[str, set[Any]] = {entity: set(keys(entity, pages[entity])) for entity in ENTITIES}
    expected["videos"] |= {orjson.loads(body)["data"]["videos"][0]["id"] for body in good}
    expected["videos"] |= {(SECOND << 32) + 900_020, (SECOND << 32) + 900_021}
    for mart, key in (("videos", "video_id"), ("comments", "comment_id")):
        assert {row[0] for row in query(settings, f"select {key} from marts.{mart}")} == expected[mart]
    ((n_rejected,),) = query(settings, "select count(*) from marts.rejected_rows")
    assert n_rejected == 1 + sum(len(page.rejected) for accepted in pages.values() for page in accepted)
    # No time, and sums and changes of more than 64 bits, are null.
    assert (
        query(
            settings,
            "select view_count, created_at, observed_age_days, view_count_sum, like_count_sum from marts.videos as v "
            "join marts.creators as c using (study, username) where username = 'extreme'",
        )
        == [(-(2**63), None, None, None, None)] * 2
    )
    assert (
        query(
            settings,
            "select view_count_change, is_implausible from marts.video_observations "
            "where observation_number = 2 and view_count < 0",
        )
        == [(None, True)] * 2
    )
    reasons = Counter(dict(query(settings, "select reason, count(*) from marts.rejected_rows group by reason")))
    assert [reason for reason in reasons if "refused by the table writer" in reason]
    replayed = replay(settings.captures, settings.raw)
    assert [error.path for error in replayed.errors] == [damaged]
    assert len(replayed.written) == len(loaded)
