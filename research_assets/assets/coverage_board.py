"""The Dagster asset `<study>/coverage_board`, which writes the page of a study's coverage board.

It reads the raw tables and the journals and not the marts, so it is true before the first build, and a failed build
does not stop it. Not here: the states of the board (see planning/coverage_board.py), its page (see
report/coverage_board.py). That package is imported when a page is written, because it loads a template library.
"""

import dagster as dg

from research_assets.assets.collected import asset_key
from research_assets.assets.simulated import SIMULATED, simulated_kind, simulated_note
from research_assets.clock import Clock, SystemClock
from research_assets.planning.inputs import study_entities
from research_assets.quota.server_time import server_clock_or_local
from research_assets.report.paths import board_path, page_address
from research_assets.settings import Settings
from research_assets.study.spec import StudySpec

DESCRIPTION = """Coverage board of the study as one HTML file: the state of each partition of each entity.

{simulated}Each partition is in one of eight states: complete, partial, too fresh, suspicious, refused, missing,
quarantined or not requested. A cell shows its units, its rows, its reason and its next try, and links to the partition
here. Dagster's green and grey are the summary of this page.

**File:** `{path}`. {opening}

**Partition:** none; the board covers all partitions of the study.

**Cost:** no request.

**Re-run:** replaces the file with the state at that time. It needs no marts."""
"""Description of the asset; placeholders are filled by `coverage_board_asset`."""


def coverage_board_asset(study: StudySpec, settings: Settings, *, clock: Clock | None = None) -> dg.AssetsDefinition:
    """Return the asset `<study>/coverage_board`, which depends on the collected assets of the study."""
    path = board_path(settings, study.name)
    address = page_address(settings, path)
    opening = (
        f"[Open it]({address}); `research-assets ui` serves the current state."
        if address
        else "Open the file in a browser; `research-assets ui` and `research-assets report --serve` serve the current "
        "state."
    )

    @dg.asset(
        key=dg.AssetKey([study.name, "coverage_board"]),
        group_name=f"results/{study.name}",
        owners=list(study.owners) or None,
        kinds={"html", *simulated_kind(settings)},
        deps=[asset_key(study, entity) for entity in study_entities(study)],
        description=DESCRIPTION.format(simulated=simulated_note(settings), path=path, opening=opening),
        metadata={"open": dg.MetadataValue.url(address)} if address else None,
    )
    def coverage_board() -> dg.MaterializeResult[None]:
        """Write the coverage board from the raw tables."""
        from research_assets.report.coverage_board import write_board
        from research_assets.units.coverage import state_label

        # The states follow the time of the API, which is that of a sandbox if there is one.
        now = clock.now() if clock else server_clock_or_local(settings, SystemClock()).now()
        written = write_board(settings, study, now)
        partitions = written.board.count_partitions()
        return dg.MaterializeResult(
            metadata={
                **({"open": dg.MetadataValue.url(address)} if address else {}),
                "file": dg.MetadataValue.path(written.path),
                "size (bytes)": written.path.stat().st_size,
                "as of": dg.MetadataValue.timestamp(now),
                "partitions": sum(partitions.values()),
                # All states each time, because Dagster draws a number over time only if it is always there.
                **{f"{state_label(state)} partitions": number for state, number in partitions.items()},
                **({"origin of the data": SIMULATED} if settings.is_simulated else {}),
            }
        )

    return coverage_board
