"""Search for videos of panel accounts whose profile the API does not find: renamed, or gone.

A video keeps its account. So a search for videos that an account published shows its handle, 100 videos a request. The
rows are stored as an observation of these videos, and each account is a unit of the kind `rename` of `videos`:

- `complete`: a video is returned. Its handle is another one (the account was renamed), or the same (the account exists,
  and only its profile is not returned);
- `missing`: none is returned, although the search returns other videos. The account was deleted, banned or made
  private, or it withdrew these videos: the API does not distinguish them (reference §6.2);
- `suspicious`: the search returned nothing at all, which proves nothing (reference §7 #10).

Accounts of which the study has no video cannot be followed. Not here: profiles (see run.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from research_assets.collect.id_lists.batches import IdBatch, batch_ids
from research_assets.collect.id_lists.pager import BatchPager
from research_assets.collect.id_lists.reader import ListedVideo
from research_assets.collect.own_capture import capture_search
from research_assets.collect.sender import RequestContext, summarize_error
from research_assets.collect.session import RecordEvent, RunState
from research_assets.quota.ledger import QuotaExhausted
from research_assets.storage.raw_reader import query_raw
from research_assets.study.spec import StudySpec
from research_assets.text import safe_logger
from research_assets.tiktok.errors import ApiError
from research_assets.tiktok.ids import video_id_of
from research_assets.tiktok.requests import MAX_COUNT
from research_assets.units.coverage import Attempt, UnitState, backoff_until, read_unit_status
from research_assets.units.renames import present_handles

INTERVAL = timedelta(days=28)
"""Time after which an account that is still missing is searched for again."""

MAX_VIDEOS = 3
"""Videos of an account that are searched for, because it may have withdrawn one of them."""

MAX_CONTROLS = 10
"""Videos of other accounts in each request, which show that the search works."""

_LOGGER = safe_logger(__name__)


@dataclass(frozen=True, slots=True)
class KnownVideo:
    """A collected video of an account: the handle of its newest observation, and the UTC day of publication."""

    account: str
    video: int
    day: date


async def follow_missing_accounts(study: StudySpec, run: RunState, partition: date) -> None:
    """Search for videos of the panel accounts that are missing in a period of `users`, at most once per `INTERVAL`.

    A used quota or an error ends it without a result; then the next run of the asset tries again.
    """
    settings, clock = run.context.settings, run.context.clock
    missing = _missing_accounts(study, run, partition)
    if not missing:
        return
    videos = _known_videos(study, run, missing)
    listed = {one.video: ListedVideo(one.video, one.day) for one in videos}
    today = clock.now().date()
    for batch in batch_ids(listed.values(), today, window_days=settings.window_days):
        own = [one for one in videos if one.video in batch.ids]
        try:
            await _follow(study, run, partition, batch, own)
        except (QuotaExhausted, ApiError) as error:
            if run.stop_for(error) is not None:
                return
            if isinstance(error, ApiError):
                text = summarize_error(error)
                _LOGGER.warning("%s/users: the search for videos of missing accounts failed: %s", study.name, text)


def _missing_accounts(study: StudySpec, run: RunState, partition: date) -> list[str]:
    """Return the panel accounts whose profile is missing, in lower case, without those searched for recently."""
    settings, now = run.context.settings, run.context.clock.now()
    status = read_unit_status(
        settings.raw, "users", study=study.name, partitions=[partition], captures=settings.captures
    )
    present = present_handles(settings.raw, study)
    panel = {name.lower() for name in (*study.panel, *present.values())}
    missing = {one.attempt.unit.lower() for one in status if one.attempt.state == "missing"} & panel
    if not missing:
        return []
    rows = query_raw(
        settings.raw,
        "coverage",
        f"study={study.name}/day=*",
        "SELECT DISTINCT unit FROM {table} WHERE entity = 'videos' AND unit_kind = 'rename' "
        "AND last_at <= ?::TIMESTAMPTZ AND next_try > ?::TIMESTAMPTZ",
        [now, now],
    )
    return sorted(missing - {unit for (unit,) in rows})


def _known_videos(study: StudySpec, run: RunState, accounts: Sequence[str]) -> list[KnownVideo]:
    """Return for each account its newest videos, of days that one request can search together."""
    settings = run.context.settings
    rows = query_raw(
        settings.raw,
        "videos",
        f"study={study.name}/day=*",
        """
        SELECT lower(username), id, any_value(day) FROM {table}
        WHERE lower(username) IN (SELECT unnest(?::VARCHAR[])) AND id IS NOT NULL
        GROUP BY lower(username), id ORDER BY 1, 2 DESC
        """,
        [list(accounts)],
    )
    known: dict[str, list[KnownVideo]] = {}
    for account, video, day in rows:
        videos = known.setdefault(account, [])
        # A wider span would need another request.
        near = not videos or abs((videos[0].day - day).days) <= 1
        if len(videos) < MAX_VIDEOS and near and video not in run.withdrawn.videos:
            videos.append(KnownVideo(account, video, day))
    return [one for videos in known.values() for one in videos]


def _controls(study: StudySpec, run: RunState, batch: IdBatch, own: Sequence[KnownVideo]) -> tuple[int, ...]:
    """Return the videos of other accounts that were observed most recently, within the days of a request."""
    rows = query_raw(
        run.context.settings.raw,
        "videos",
        f"study={study.name}/day=*",
        "SELECT id FROM {table} WHERE day BETWEEN ? AND ? AND id IS NOT NULL "
        "AND lower(username) NOT IN (SELECT unnest(?::VARCHAR[])) "
        f"GROUP BY id ORDER BY max(observed_at) DESC, id DESC LIMIT {MAX_CONTROLS}",
        [batch.first, batch.last, [one.account for one in own]],
    )
    free = MAX_COUNT - len(batch.ids)
    return tuple(video for (video,) in rows if video not in run.withdrawn.videos)[:free]


async def _follow(study: StudySpec, run: RunState, partition: date, batch: IdBatch, own: Sequence[KnownVideo]) -> None:
    """Search for the videos of one batch; the responses and the attempts become a capture of their own."""
    clock = run.context.clock
    context = RequestContext(study.name, "videos", f"renames: {batch}")
    pager = BatchPager(
        replace(batch, ids=(*batch.ids, *_controls(study, run, batch, own))), study.fields.get("videos"), clock
    )
    first_at = clock.now()

    async def search(record: RecordEvent) -> dict[int, str]:
        """Return the handles of the videos that were returned."""
        handles: dict[int, str] = {}

        async def read(one: BatchPager) -> None:
            while (request := one.next_request()) is not None:
                page = await run.sender.send(
                    request, context, lambda facts: record("fail", facts, None), max_attempts=one.max_attempts
                )
                record("page", one.page_facts(page), page.raw)
                run.count(partition.isoformat(), len(page.rows))
                for row in page.rows:
                    if (video := video_id_of(row)) is not None and isinstance(row.get("username"), str):
                        handles[video] = row["username"]

        await pager.find(read)
        return handles

    def attempts(handles: Mapping[int, str], requests: float, capture: str) -> list[Attempt]:
        by_account = _by_account(own)
        found = [
            replace(
                _attempt(study, account, videos, handles, partition, first_at, clock.now(), pager),
                requests=requests / len(by_account),
                capture=capture,
            )
            for account, videos in by_account.items()
        ]
        for one in found:
            _LOGGER.warning("%s: panel account %s: %s", study.name, one.unit, one.reason)
        return found

    await capture_search(run, (batch.first, batch.last), {"renames": True}, search, attempts)


def _by_account(own: Sequence[KnownVideo]) -> Mapping[str, list[int]]:
    videos: dict[str, list[int]] = {}
    for one in own:
        videos.setdefault(one.account, []).append(one.video)
    return videos


def _attempt(
    study: StudySpec,
    account: str,
    videos: Sequence[int],
    handles: Mapping[int, str],
    partition: date,
    first_at: datetime,
    now: datetime,
    pager: BatchPager,
) -> Attempt:
    """Return the attempt at an account. `pager` is that of the request, which also names videos of other accounts."""
    found = [video for video in videos if video in handles]
    handle = handles[found[0]] if found else ""
    is_known_missing = bool(pager.found) and pager.doubt is None
    state: UnitState = "complete" if found else "missing" if is_known_missing else "suspicious"
    if found and handle.lower() != account:
        advice = (
            "The study follows renames, so the account is observed under this handle from now on."
            if study.follow_renames
            else f"To observe the account further, add {handle} to the panel of the study file."
        )
        if not study.follow_renames and not study.pseudonymous:
            advice += " To do so for every renamed account, add the line `follow_renames: true` below `panel:`."
        reason = f"Renamed: the video {found[0]} has the handle {handle} now. {advice}"
    elif found:
        reason = "Not renamed: a video has the same handle. The account exists, but the API returns no profile of it."
    elif is_known_missing:
        reason = (
            "None of its collected videos is returned: the account was deleted, banned or made private, or it withdrew "
            "them. The API does not distinguish these cases."
        )
    else:
        doubt = pager.doubt or "The search returned no video at all"
        reason = f"{doubt}, so nothing is known about the account."
    return Attempt(
        entity="videos",
        partition=partition,
        unit_kind="rename",
        unit=account,
        state=state,
        first_at=first_at,
        last_at=now,
        asked=len(videos),
        offered=len(found),
        kept=len(found),
        expected=len(videos),
        reason=reason,
        next_try=backoff_until(now, 1) if state == "suspicious" else now + INTERVAL,
    )
