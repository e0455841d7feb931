"""The Dagster asset `verification_certificate`, which writes the state of verification for an auditor.

Not here: the certificate (see compliance/verification/certificate.py), the verification (see sensors/verification.py).
"""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg

from research_assets.assets.simulated import SIMULATED, simulated_kind, simulated_note
from research_assets.clock import Clock, SystemClock
from research_assets.quota.server_time import server_clock_or_local
from research_assets.settings import Settings
from research_assets.text import markdown_text

CHECK = "is_verified_in_time"
CRON = "15 */6 * * *"
"""Every six hours, so that the check fails before the interval ends: it looks half of the lead time ahead."""

DESCRIPTION = """Certificate of verification: what is stored, verified, overdue and withdrawn.

{simulated}It has counts, times and digests, no id and no name, so it can be given to an auditor. `research-assets
verify --certificate` writes a copy with its date.

**Files:** `{folder}/current.md` and `current.json`.

**Check:** `is_verified_in_time` fails before the interval ends (RESEARCH_VERIFY_DAYS, {days} days): if an item is
overdue or falls due within half of the lead time, if a task waits for a person, or if a removal is not complete.

**Partition:** none; it covers all studies.

**Cost:** no request. A schedule writes it every six hours.

**Re-run:** replaces the files with the state at that time."""
"""Description of the asset; placeholders are filled by `certificate_asset`."""


def certificate_key(settings: Settings) -> dg.AssetKey:
    """Return the key of the asset; several code locations on one instance have prefixes."""
    return dg.AssetKey([*settings.warehouse_prefix, "verification_certificate"])


def certificate_asset(settings: Settings, *, clock: Clock | None = None) -> dg.AssetsDefinition:
    """Return the asset `verification_certificate` with its check."""
    from research_assets.compliance.verification.certificate import certificates_folder

    key = certificate_key(settings)

    @dg.asset(
        key=key,
        group_name="compliance",
        kinds={"markdown", *simulated_kind(settings)},
        description=DESCRIPTION.format(
            simulated=simulated_note(settings), folder=certificates_folder(settings), days=settings.verify_days
        ),
        # The schedule writes it four times a day.
        freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(days=1), warn_window=timedelta(hours=12)),
        check_specs=[
            dg.AssetCheckSpec(
                CHECK,
                asset=key,
                description=(
                    f"Every stored item was verified within {settings.verify_days} days, no task waits for a person, "
                    "and every removal is complete. Looks half of the lead time ahead. Terms: docs/glossary.md"
                ),
            )
        ],
    )
    def verification_certificate() -> Iterator[dg.MaterializeResult[None]]:
        """Write the certificate from the stored items, the tasks and the receipts."""
        from research_assets.compliance.verification.certificate import certificate_text, write_certificate

        # The times follow the API, whose time is that of a sandbox if there is one.
        now = clock.now() if clock else server_clock_or_local(settings, SystemClock()).now()
        certificate, path = write_certificate(settings, now, name="current")
        withdrawn = certificate.count_withdrawn()
        findings = certificate.findings
        severity = dg.AssetCheckSeverity.ERROR if certificate.is_late else dg.AssetCheckSeverity.WARN
        yield dg.MaterializeResult(
            metadata={
                "file": dg.MetadataValue.path(path),
                "as of": dg.MetadataValue.timestamp(now),
                "certificate": dg.MetadataValue.md(certificate_text(certificate)),
                **{f"{items.kind}s stored": items.n_stored for items in certificate.stored},
                **{f"{items.kind}s overdue": items.n_overdue for items in certificate.stored},
                "withdrawn": sum(withdrawn.values()),
                "tasks waiting for a person": len(certificate.waiting),
                **({"origin of the data": SIMULATED} if settings.is_simulated else {}),
            },
            check_results=[
                dg.AssetCheckResult(
                    passed=not findings,
                    check_name=CHECK,
                    severity=severity,
                    description=markdown_text("\n".join(findings)) if findings else None,
                )
            ],
        )

    return verification_certificate


def certificate_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """Return the schedule that writes the certificate."""
    return dg.ScheduleDefinition(
        name="write_certificate",
        target=dg.AssetSelection.assets(certificate_key(settings)),
        cron_schedule=CRON,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Writes the certificate of verification every six hours.\n\nCost: no request.\n\n"
        "Terms: docs/glossary.md",
    )
