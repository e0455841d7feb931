"""What people and tests use besides the API: the page, the state, the truth, the clock, withdrawals and the reset."""

from datetime import UTC, datetime
from functools import cache
from importlib import resources
from time import process_time
from typing import TYPE_CHECKING, Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from research_assets.sandbox.query import parse_date
from research_assets.sandbox.responses import ApiFailure
from research_assets.sandbox.world.accounts import PANEL

if TYPE_CHECKING:
    from research_assets.sandbox.app import Sandbox

_KINDS = (
    "kind=videos&query={…}&start_date=…&end_date=…, "
    "kind=comments&video_id=…, kind=replies&comment_id=…, kind=user&username=…"
)


@cache
def _page() -> str:
    return resources.files(__package__).joinpath("page.html").read_text("utf-8")


def state(sandbox: "Sandbox") -> dict[str, Any]:
    """The sandbox's books at this moment."""
    config, now, books = sandbox.config, sandbox.clock.now(), sandbox.books
    pools = {
        name: {"cap": pool.cap, "spent": pool.day(now).spent, "refused": pool.day(now).refused}
        for name, pool in sandbox.quota.pools.items()
    }
    return {
        "now": now.isoformat(timespec="seconds"),
        "stopped": sandbox.clock.stopped,
        "profile": config.profile,
        "seed": config.seed,
        "fixed_volume": config.fixed_volume,
        "rate": config.rate,
        "client_key": config.client_key,
        "client_secret": config.client_secret,
        "panel": PANEL,
        "pools": pools,
        "calls": sandbox.faults.calls,
        "cpu_seconds": process_time(),
        "rows": books.rows,
        "requests": dict(books.asked.most_common()),
        "outcomes": dict(books.outcomes.most_common()),
        "latest": list(books.latest()),
    }


def control(sandbox: "Sandbox") -> Starlette:
    """The application behind everything that is not a data call."""

    async def page(_: Request) -> Response:
        return HTMLResponse(_page())

    async def show_state(_: Request) -> Response:
        return JSONResponse(state(sandbox))

    async def truth(request: Request) -> Response:
        try:
            return JSONResponse(_truth(sandbox, dict(request.query_params)))
        except (KeyError, ValueError, ApiFailure) as error:
            return JSONResponse({"error": f"{error!r}. Ask one of: {_KINDS}"}, 400)

    async def clock(request: Request) -> Response:
        wish = await _parse_clock_request(request)
        try:
            if "now" in wish:
                moment = datetime.fromisoformat(str(wish["now"]))
                sandbox.clock.set(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
            if "advance" in wish:
                sandbox.clock.advance(float(wish["advance"]))
        except (ValueError, OverflowError) as error:
            ways = '{"now": "2026-03-01T00:00:00Z"}, {"advance": 3600}, {"stopped": true}'
            return JSONResponse({"error": f"the clock was not moved: {error}. Send one of: {ways}"}, 400)
        if "stopped" in wish:
            (sandbox.clock.stop if wish["stopped"] else sandbox.clock.resume)()
        return JSONResponse({"now": sandbox.clock.now().isoformat(), "stopped": sandbox.clock.stopped})

    async def withdraw(request: Request) -> Response:
        wish = await _parse_clock_request(request)
        sandbox.world.withdrawn.update(int(i) for i in (*wish.get("videos", ()), *wish.get("comments", ())))
        sandbox.world.removed.update(str(name).lower() for name in wish.get("users", ()))
        return JSONResponse({"withdrawn": len(sandbox.world.withdrawn), "removed": len(sandbox.world.removed)})

    async def reset(_: Request) -> Response:
        sandbox.reset()
        return JSONResponse(state(sandbox))

    return Starlette(
        routes=[
            Route("/", page),
            Route("/sandbox/state", show_state),
            Route("/sandbox/truth", truth),
            Route("/sandbox/clock", clock, methods=["POST"]),
            Route("/sandbox/withdraw", withdraw, methods=["POST"]),
            Route("/sandbox/reset", reset, methods=["POST"]),
        ]
    )


async def _parse_clock_request(request: Request) -> dict[str, Any]:
    try:
        wish = orjson.loads(await request.body() or b"{}")
    except orjson.JSONDecodeError:
        return {}
    return wish if isinstance(wish, dict) else {}


def _truth(sandbox: "Sandbox", asked: dict[str, str]) -> dict[str, Any]:
    truth, kind = sandbox.truth, asked["kind"]
    answer: dict[str, Any] = {"kind": kind, "at": truth.moment().isoformat()}
    if kind == "videos":
        start = parse_date(asked["start_date"].replace("-", ""), "start_date")
        end = parse_date(asked["end_date"].replace("-", ""), "end_date")
        days = truth.videos(orjson.loads(asked["query"]), start, end)
        return answer | {
            "days": {str(day): {"raw": hits.raw, "deliverable": hits.deliverable} for day, hits in days.items()}
        }
    if kind == "comments":
        return answer | {"ids": truth.comments(int(asked["video_id"]))}
    if kind == "replies":
        return answer | {"ids": truth.replies(int(asked["comment_id"]))}
    if kind == "user":
        return answer | truth.user(asked["username"])
    raise ValueError(f"kind {kind!r} is not known")
