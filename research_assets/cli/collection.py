"""The loop of `research-assets collect`: plan, execute the planned runs, plan again, until no run can start.

Planning again takes into account what the runs found and what other processes do. Not here: the command
(see collect.py), the plan (see sensors/collection_plan.py), and the execution of a run (see dagster_runs.py).
"""

from collections.abc import Sequence
from dataclasses import replace

import dagster as dg

from research_assets.cli.build import build_marts, marts_blocker
from research_assets.cli.collect_display import CollectDisplay, RequestLimit, describe_partitions, run_title
from research_assets.cli.dagster_runs import RunExecutor, RunResult, StopRequest
from research_assets.cli.exit_codes import DONE, FAILED, PAUSED
from research_assets.clock import SystemClock
from research_assets.planning.inputs import read_observed_periods
from research_assets.planning.limits import Limits
from research_assets.planning.messages import plan_table, pluralize
from research_assets.planning.types import PlannedRun, StudyEntity
from research_assets.quota.ledger import read_used_by_run
from research_assets.resources import PAUSED_TAG, CollectorResource
from research_assets.sensors.collection_plan import CollectionPlan, Periods, collected_keys, read_collection_plan
from research_assets.sensors.orphaned_runs import fail_orphaned, find_orphaned
from research_assets.sensors.run_history import CODE_LOCATION, active_runs, selected_keys
from research_assets.settings import Settings
from research_assets.study.spec import StudySpec
from research_assets.text import log_text
from research_assets.tiktok.endpoints import BY_ENTITY

_UNFINISHED = ("quota", "running", "no_progress")
"""Reasons for which due units are deferred. Other deferred units are not due yet."""


class Planner:
    """Reads the plan for some studies, at the server's time and with limits."""

    def __init__(
        self,
        instance: dg.DagsterInstance,
        collector: CollectorResource,
        chosen: Sequence[StudySpec],
        known: Sequence[StudySpec],
    ) -> None:
        """`chosen` are the studies to collect; the runs of all `known` studies count.

        Raises SandboxUnreachable or SettingsError if nothing can be collected.
        """
        now = collector.server_clock().now()
        self._instance, self._collector, self._chosen, self._known = instance, collector, chosen, known
        self._periods: Periods = {
            (study.name, entity): periods
            for study in chosen
            for entity, periods in read_observed_periods(collector.settings, study, now).items()
        }

    def is_free(self, run: PlannedRun) -> bool:
        """Return whether no active run uses the pool of a planned run: two would only meet the API's rate limit."""
        active = active_runs(self._instance, self._collector.clock.now(), CODE_LOCATION)
        keys = {key for other in active for key in selected_keys(other, collected_keys(self._known))}
        return BY_ENTITY[run.entity].pool not in {BY_ENTITY[key.path[-1]].pool for key in keys}

    def read(self, limits: Limits) -> CollectionPlan:
        """Return the plan. Raises SandboxUnreachable or SettingsError if nothing can be collected."""
        return read_collection_plan(
            self._instance,
            self._chosen,
            self._collector,
            self._collector.server_clock(),
            location=CODE_LOCATION,
            periods=self._periods,
            all_studies=self._known,
            limits=limits,
            # Who stopped the last call and starts another one wants to continue now.
            count_cancelled=False,
        )


def print_plan(
    settings: Settings,
    chosen: Sequence[StudySpec],
    known: Sequence[StudySpec],
    limits: Limits,
    display: CollectDisplay,
) -> None:
    """Print what would start now and what would follow, as the page of the sensor does. Sends no request."""
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        plan = Planner(instance, CollectorResource(settings), chosen, known).read(limits)
    display.say(plan_table(plan.agenda, plan.now) or plan.describe_deferred())
    requests = pluralize(sum(run.requests for run in plan.runs), "request")
    is_bound = any(run.is_partial or run.basis == "no data yet" for run in plan.runs)
    cost = f"{requests} or more" if is_bound else f"about {requests}"
    display.say(
        f"\n{pluralize(len(plan.runs), 'run')} would start now: {cost}. No request was sent."
        if plan.runs
        else "\nNo run would start now. No request was sent."
    )


class Collection:
    """One call of the command: its runs, the requests that they sent, and how it ended."""

    def __init__(
        self,
        settings: Settings,
        chosen: Sequence[StudySpec],
        known: Sequence[StudySpec],
        limits: Limits,
        display: CollectDisplay,
    ) -> None:
        self._settings, self._limits, self._display = settings, limits, display
        self._stop = StopRequest()
        self._executor = RunExecutor(settings, self._stop, on_progress=display.on_progress, on_result=display.on_result)
        self._planner = Planner(self._executor.instance, self._executor.collector, chosen, known)
        self._n_runs = self._used = 0
        self._failures: list[str] = []
        self._paused: set[StudyEntity] = set()

    def run(self, *, build: bool) -> int:
        """Collect, build the marts if there are new data, and return the exit code."""
        instance = self._executor.instance
        # A `collect` that was killed left its run in progress, and every other run would wait for it.
        orphaned = find_orphaned(instance, CODE_LOCATION, self._settings.state, SystemClock().now())
        fail_orphaned(instance, orphaned, before=orphaned)
        with self._stop.catch_signals():
            plan = self._collect()
            code = self._conclude(plan)
            if build and not self._stop.is_set and not self._build():
                code = FAILED
            return PAUSED if self._stop.is_set and code == DONE else code

    def _collect(self) -> CollectionPlan:
        """Execute planned runs until none can start or a signal is received; return the last plan."""
        while True:
            with self._display.working("Planning ..."):
                plan = self._planner.read(replace(self._limits, used=self._used))
            for event in plan.materializations(self._settings):
                self._executor.instance.report_runless_asset_event(event)
            n_before = self._n_runs
            for run in plan.runs:
                left = replace(self._limits, used=self._used).remaining
                if self._stop.is_set or (left == 0 and run.budget):
                    break
                if self._planner.is_free(run):
                    # The runs of two pools share the budget of the call.
                    self._execute(plan, run if left is None else replace(run, budget=min(run.budget, left)))
            if self._stop.is_set or self._n_runs == n_before:
                return plan

    def _execute(self, plan: CollectionPlan, run: PlannedRun) -> None:
        with self._display.working("Loading Dagster and parsing the dbt project ..."):
            self._executor.load()
        request, started = plan.run_request(run), self._executor.collector.clock.monotonic()
        with self._display.run(run, self._limit(plan, run)) as counts:
            result = self._executor.execute(
                request.asset_selection or (), request.tags, request.run_config, when_stopping=self._announce_stop
            )
        used = self._requests_of(result)
        self._n_runs, self._used = self._n_runs + 1, self._used + used
        seconds = self._executor.collector.clock.monotonic() - started
        numbers = (
            f"{counts.complete:,} of {describe_partitions(run)} complete, "
            f"{pluralize(used, 'request')}, {pluralize(counts.rows, 'row')}, {seconds:.1f} s"
        )
        if result.status is dg.DagsterRunStatus.CANCELED:
            self._display.say(f"- {run_title(run)}: stopped; {numbers}")
        elif result.is_busy:
            self._display.say(
                f"- {run_title(run)}: another run has started to collect these days. {log_text(result.reason)}"
            )
        elif not result.success:
            self._failures.append(f"{run_title(run)} (run {result.run_id[:8]}): {log_text(result.reason)}")
            self._display.say(f"✗ {run_title(run)}: failed; {numbers}")
        elif self._tags_of(result).get(PAUSED_TAG):
            self._paused.add((run.study, run.entity))
            self._display.say(f"- {run_title(run)}: paused; {numbers}")
        else:
            self._display.say(f"✓ {run_title(run)}: {numbers}")

    def _announce_stop(self) -> None:
        self._display.say("Stopping after the current page ... Press Ctrl-C again to stop immediately.")

    def _limit(self, plan: CollectionPlan, run: PlannedRun) -> RequestLimit:
        if self._limits.budget is not None:
            return RequestLimit("budget", self._used, self._limits.budget)
        pool = plan.inputs.pools[BY_ENTITY[run.entity].pool]
        return RequestLimit(f"quota {pool.pool}", pool.cap - pool.remaining, pool.cap)

    def _requests_of(self, result: RunResult) -> int:
        """Return the requests that a run took from the ledger."""
        used = read_used_by_run(self._settings, self._executor.collector.clock, [result.run_id])
        return sum(used[result.run_id].values())

    def _tags_of(self, result: RunResult) -> dict[str, str]:
        run = self._executor.instance.get_run_by_id(result.run_id)
        return dict(run.tags) if run is not None else {}

    def _conclude(self, plan: CollectionPlan) -> int:
        """Print how the collection ended, and return the exit code."""
        sent = f"{pluralize(self._n_runs, 'run')}, {pluralize(self._used, 'request')}."
        if self._stop.is_set:
            self._display.warn(
                f"Stopped: {sent} Every page that was received is stored. Continue with: research-assets collect"
            )
            return PAUSED
        if self._limits.budget is not None:
            # Without the budget: what the quota still allows.
            plan = self._planner.read(replace(self._limits, budget=None))
        state = plan.describe_deferred()
        if self._failures:
            self._display.warn(
                f"Failed: {pluralize(len(self._failures), 'run')} of {self._n_runs:,}; {sent}\n  "
                + "\n  ".join(self._failures)
                + "\nCollected data is stored. To inspect the runs: research-assets ui"
            )
            return FAILED
        if plan.runs:
            waiting = f"about {pluralize(sum(run.requests for run in plan.runs), 'request')}"
            if not any(map(self._planner.is_free, plan.runs)):
                reason = f"Another run uses the quota. When it ends, collect again: {waiting} can be sent then"
            else:
                reason = f"The budget allows no further run. Another call can send {waiting} now"
            self._display.say(f"Paused: {sent} {reason}.")
            return PAUSED
        if any(
            deferred.units
            and (
                deferred.reason in _UNFINISHED
                or (deferred.reason == "backing_off" and (deferred.study, deferred.entity) in self._paused)
            )
            for deferred in plan.agenda.deferred
        ):
            self._display.say(f"Paused: {sent} {state}")
            return PAUSED
        self._display.say(f"Done: {sent} {state}")
        return DONE

    def _build(self) -> bool:
        """Build the marts if there are new data. Return whether nothing prevented it."""
        blocker, is_failure = marts_blocker(self._executor, self._settings)
        if blocker is not None:
            (self._display.warn if is_failure else self._display.say)(f"Marts: {blocker}")
            return not is_failure
        return build_marts(self._executor, self._display)
