"""What the run of a list starts from: which units are wanted, what is held of them, what others know of them.

Reads the raw tables for `lists.py`; sends nothing.
"""

from collections.abc import Mapping
from datetime import date

from research_assets.collect.coverage import UnitStatus, count_settled_units, read_failed_units, read_unit_status
from research_assets.collect.model import CollectionTask, CollectorContext
from research_assets.collect.targets import Target, account_targets, count_video_targets, video_targets
from research_assets.fields import ENTITIES


class ListInputs:
    """What is known of an entity when a run begins. Accounts are known across studies and periods."""

    def __init__(self, ask: CollectionTask, tools: CollectorContext) -> None:
        """Read what all partitions share; what belongs to one is read when its turn comes, to keep memory flat."""
        self._ask, self._tools, self._settings = ask, tools, tools.settings
        self.is_observation = ENTITIES[ask.entity].time_axis == "observation"
        settings = tools.settings
        self._days = {
            record.attempt.partition: record.attempt.state
            for record in read_unit_status(settings.raw, "videos", study=ask.study.name, captures=settings.captures)
            if record.attempt.unit_kind == "day"
        }
        self._accounts = account_targets(settings.raw, ask.study, ask.entity) if self.is_observation else []
        self._unanswered = (
            read_failed_units(settings.raw, ask.entity, captures=settings.captures) if self.is_observation else {}
        )

    def blocked_reason(self, partition: date) -> str | None:
        """Why a partition cannot be asked yet: comments follow a day's videos, and authors any videos at all."""
        study = self._ask.study
        if self._ask.entity == "comments" and self._days.get(partition) != "complete":
            state = self._days.get(partition, "not_asked")
            return f"The day's videos are {state}; its comments follow once they are complete."
        by_videos = self._ask.entity == "users" and study.users.who in ("authors", "top")
        if by_videos and "complete" not in self._days.values():
            return "No day of videos is held yet; its authors follow once one is."
        return None

    def targets(self, partition: date) -> list[Target]:
        """The units of a partition."""
        return self._accounts if self.is_observation else video_targets(self._settings.raw, self._ask.study, partition)

    def unit_status(self, partition: date) -> dict[str, UnitStatus]:
        """What the study holds of a partition, by unit."""
        study = self._ask.study.name
        records = self._read(study, [partition])
        return {record.attempt.unit: record for record in records}

    def status_elsewhere(self, partition: date) -> Mapping[str, UnitStatus]:
        """Looks of other studies and periods: accounts whose newest did not succeed, and what this period brought."""
        if not self.is_observation:
            return {}
        others = [record for record in self._read(None, [partition]) if record.study != self._ask.study.name]
        complete = {record.attempt.unit: record for record in others if record.attempt.state == "complete"}
        return self._unanswered | complete

    def estimate(self) -> int:
        """About how many requests the run wants: one for each open unit."""
        ready = [partition for partition in self._ask.partitions if self.blocked_reason(partition) is None]
        if not ready:
            return 0
        wanted = (
            len(self._accounts)
            if self.is_observation
            else count_video_targets(self._settings.raw, self._ask.study, ready)
        )
        if self._ask.recollect:
            return wanted
        raw, captures, study = self._settings.raw, self._settings.captures, self._ask.study.name
        return max(0, wanted - count_settled_units(raw, self._ask.entity, study, ready, captures=captures))

    def _read(self, study: str | None, partitions: list[date]) -> list[UnitStatus]:
        settings = self._settings
        return read_unit_status(
            settings.raw, self._ask.entity, study=study, partitions=partitions, captures=settings.captures
        )
