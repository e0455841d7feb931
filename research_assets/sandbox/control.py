"""The page and the control endpoints: state, ground truth, clock, withdrawals and reset. They cost no quota.

Not here: data calls and tokens (see app.py).
"""

from datetime import UTC, datetime
from functools import cache
from importlib import resources
from time import process_time
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from research_assets.sandbox.query import parse_date
from research_assets.sandbox.responses import ApiFailure
from research_assets.sandbox.simulation import Simulation
from research_assets.sandbox.world.accounts import PANEL

_KINDS = (
    "kind=videos&query={…}&start_date=…&end_date=…, "
    "kind=comments&video_id=…, kind=replies&comment_id=…, kind=user&username=…"
)


@cache
def _page() -> str:
    return resources.files(__package__).joinpath("page.html").read_text("utf-8")


def state(sandbox: Simulation) -> dict[str, Any]:
    """Return the current state: clock, configuration, quota and request log."""
    config, now, log = sandbox.config, sandbox.clock.now(), sandbox.request_log
    pools = {
        name: {"cap": pool.cap, "used": pool.day(now).used, "refused": pool.day(now).refused}
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
        "rows": log.rows,
        "requests": dict(log.requests.most_common()),
        "outcomes": dict(log.outcomes.most_common()),
        "latest": list(log.latest()),
    }


def control(sandbox: Simulation) -> Starlette:
    """Return the application that answers everything except data calls and token requests."""

    async def page(_: Request) -> Response:
        return HTMLResponse(_page())

    async def show_state(_: Request) -> Response:
        return JSONResponse(state(sandbox))

    async def ground_truth(request: Request) -> Response:
        try:
            return JSONResponse(_ground_truth(sandbox, dict(request.query_params)))
        except (KeyError, ValueError, ApiFailure) as error:
            return JSONResponse({"error": f"{error!r}. Ask one of: {_KINDS}"}, 400)

    async def clock(request: Request) -> Response:
        body = await _parse_json_object(request)
        try:
            if "now" in body:
                time = datetime.fromisoformat(str(body["now"]))
                sandbox.clock.set(time if time.tzinfo else time.replace(tzinfo=UTC))
            if "advance" in body:
                sandbox.clock.advance(float(body["advance"]))
        except (ValueError, OverflowError) as error:
            examples = '{"now": "2026-03-01T00:00:00Z"}, {"advance": 3600}, {"stopped": true}'
            return JSONResponse({"error": f"the clock was not moved: {error}. Send one of: {examples}"}, 400)
        if "stopped" in body:
            (sandbox.clock.stop if body["stopped"] else sandbox.clock.resume)()
        return JSONResponse({"now": sandbox.clock.now().isoformat(), "stopped": sandbox.clock.stopped})

    async def withdraw(request: Request) -> Response:
        body = await _parse_json_object(request)
        sandbox.world.withdrawn.update(int(i) for i in (*body.get("videos", ()), *body.get("comments", ())))
        sandbox.world.removed.update(str(name).lower() for name in body.get("users", ()))
        return JSONResponse({"withdrawn": len(sandbox.world.withdrawn), "removed": len(sandbox.world.removed)})

    async def reset(_: Request) -> Response:
        sandbox.reset()
        return JSONResponse(state(sandbox))

    async def unsupported(request: Request, error: Exception) -> Response:
        # Assumption: the code is not documented, but the gateway's other errors have this form.
        message = f"Unsupported path or method: {request.method} {request.url.path}"
        failure = ApiFailure(getattr(error, "status_code", 404), "unsupported_path", message, gateway=True)
        answer = sandbox.responses.failure(failure, sandbox.clock.now())
        return Response(answer.body, answer.status, media_type="application/json")

    return Starlette(
        routes=[
            Route("/", page),
            Route("/sandbox/state", show_state),
            Route("/sandbox/ground-truth", ground_truth),
            Route("/sandbox/clock", clock, methods=["POST"]),
            Route("/sandbox/withdraw", withdraw, methods=["POST"]),
            Route("/sandbox/reset", reset, methods=["POST"]),
        ],
        exception_handlers={404: unsupported, 405: unsupported},
    )


async def _parse_json_object(request: Request) -> dict[str, Any]:
    """Return the body as a JSON object; empty if it is none."""
    try:
        body = orjson.loads(await request.body() or b"{}")
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _ground_truth(sandbox: Simulation, parameters: dict[str, str]) -> dict[str, Any]:
    ground_truth, kind = sandbox.ground_truth, parameters["kind"]
    answer: dict[str, Any] = {"kind": kind, "at": ground_truth.now().isoformat()}
    if kind == "videos":
        start = parse_date(parameters["start_date"].replace("-", ""), "start_date")
        end = parse_date(parameters["end_date"].replace("-", ""), "end_date")
        days = ground_truth.videos(orjson.loads(parameters["query"]), start, end)
        return answer | {
            "days": {str(day): {"raw": hits.raw, "deliverable": hits.deliverable} for day, hits in days.items()}
        }
    if kind == "comments":
        return answer | {"ids": ground_truth.comments(int(parameters["video_id"]))}
    if kind == "replies":
        return answer | {"ids": ground_truth.replies(int(parameters["comment_id"]))}
    if kind == "user":
        return answer | ground_truth.user(parameters["username"])
    raise ValueError(f"kind {kind!r} is not known")
