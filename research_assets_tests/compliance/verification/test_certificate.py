"""The certificate is right to the item, also while something is overdue, waits, or is not removed."""

import json
from dataclasses import replace
from datetime import timedelta

import dagster as dg
import pytest

from research_assets.assets.certificate import CHECK, certificate_asset
from research_assets.compliance.forget import remove_items
from research_assets.compliance.verification.certificate import (
    Certificate,
    certificate_text,
    make_certificate,
    write_certificate,
)
from research_assets.compliance.verification.step import give_word
from research_assets.settings import Settings
from research_assets.storage.withdrawals import read_withdrawals
from research_assets_tests.compliance.verification.harness import VerificationHarness, download


@pytest.fixture
def data(settings: Settings) -> VerificationHarness:
    harness = VerificationHarness(settings)
    harness.collect()
    harness.collect("comments")
    return harness


def certify(data: VerificationHarness) -> Certificate:
    return make_certificate(data.settings, data.collector.clock.now())


def test_certificate_counts_each_item(data: VerificationHarness) -> None:
    before = certify(data)
    assert [(one.kind, one.n_stored, one.n_due, one.n_late, one.n_overdue) for one in before.stored] == [
        ("video", 30, 0, 0, 0),
        ("comment", 60, 0, 0, 0),
        ("account", 0, 0, 0, 0),
    ]
    assert (before.findings, before.is_late, before.tasks, before.removals) == ([], False, [], [])
    gone, forgotten = data.collector.ids()[:2]
    data.withdraw(gone)
    data.wait(days=14, hours=1)
    assert [one.n_due for one in certify(data).stored] == [30, 60, 0]
    assert not certify(data).is_late
    data.run_until_quiet()
    remove_items(data.settings, data.collector.clock.now, videos=[forgotten], handles=["somebody"])
    after = certify(data)
    assert [(one.kind, one.n_stored, one.n_overdue) for one in after.stored] == [
        ("video", 28, 0),
        ("comment", 56, 0),
        ("account", 0, 0),
    ]
    assert [
        (one.kind, one.n_sent, one.n_verified, one.n_missing, one.n_withdrawn, one.state) for one in after.tasks
    ] == [
        ("video", 30, 29, 1, 1, "done"),
        ("comment", 60, 58, 2, 2, "done"),
    ]
    # The comments go with their video, before their own task is judged.
    assert after.count_withdrawn() == {("video", "removed"): 2, ("account", "removed"): 1}
    assert sum(after.count_withdrawn().values()) == len(read_withdrawals(data.settings.state))
    assert [one.found_by for one in after.removals] == [["compliance"], ["forgotten"]]
    assert not after.findings


def test_certificate_names_what_is_late_before_it_is_overdue(data: VerificationHarness) -> None:
    data.wait(days=14, hours=13)
    late = certify(data)
    assert late.is_late
    assert [one.n_overdue for one in late.stored] == [0, 0, 0]
    assert ["fall due at" in finding for finding in late.findings] == [True, True]
    data.wait(days=1)
    overdue = certify(data)
    assert [one.n_overdue for one in overdue.stored] == [30, 60, 0]
    assert overdue.findings[0] == "30 of 30 videos are overdue: not verified for 15 days."


def test_certificate_under_a_clock_that_is_behind_shows_nothing(data: VerificationHarness) -> None:
    now, settings = data.collector.clock.now(), replace(data.settings, api_url="https://open.tiktokapis.com")
    assert not make_certificate(settings, now - timedelta(hours=settings.max_clock_offset)).findings
    behind = make_certificate(settings, now - timedelta(days=365))
    assert behind.is_late
    assert ["so it does not show which items are due" in finding for finding in behind.findings] == [True, True]
    assert "Every stored item was verified in time" not in certificate_text(behind)


def test_certificate_names_waiting_tasks_and_incomplete_removals(data: VerificationHarness) -> None:
    data.edit = download(lambda _: b"")
    data.wait(days=14)
    data.run_until_quiet()
    waiting = certify(data)
    assert [task.state_text for task in waiting.waiting] == ["waits for a person: the result file is empty"] * 2
    assert not waiting.is_late
    assert all("waits for a person" in finding for finding in waiting.findings)
    archive = data.settings.root / "copy.bin"
    video = data.collector.ids()[0]
    archive.write_bytes(b"\xff" + str(video).encode())
    (receipt,) = remove_items(data.settings, data.collector.clock.now, videos=[video])
    assert not receipt.is_complete
    certificate = certify(data)
    assert [one.receipt for one in certificate.unfinished] == [receipt.id]
    assert certificate.count_withdrawn() == {("video", "not removed"): 1}
    assert receipt.id in certificate_text(certificate)
    # The next removal cleans the files of all items.
    other = data.collector.ids()[0]
    (second,) = remove_items(data.settings, data.collector.clock.now, videos=[other])
    assert len(certify(data).unfinished) == 2
    archive.unlink()
    (repeated,) = remove_items(data.settings, data.collector.clock.now)
    assert (repeated.id, repeated.is_complete) == (second.id, True)
    assert certify(data).count_withdrawn() == {("video", "removed"): 2}
    assert not certify(data).unfinished
    assert remove_items(data.settings, data.collector.clock.now) == []


def test_written_certificate_contains_no_id(data: VerificationHarness) -> None:
    video = data.collector.ids()[0]
    remove_items(data.settings, data.collector.clock.now, videos=[video], handles=["somebody"])
    certificate, path = write_certificate(data.settings, data.collector.clock.now())
    stored = json.loads(path.with_suffix(".json").read_text())
    assert stored["stored"][0]["n_stored"] == 29
    assert stored["withdrawals_sha256"] == certificate.withdrawals_sha256
    for written in (path, path.with_suffix(".json")):
        text = written.read_text()
        assert not any(str(one) in text for one in [video, *data.collector.ids()])
        assert "somebody" not in text
        assert written.stat().st_mode & 0o777 == 0o600


def test_asset_and_its_check_fail_before_the_interval_ends(data: VerificationHarness) -> None:
    asset = certificate_asset(data.settings, clock=data.collector.clock)

    def check() -> tuple[bool, dg.AssetCheckSeverity]:
        result = dg.materialize([asset])
        (evaluation,) = result.get_asset_check_evaluations()
        assert evaluation.check_name == CHECK
        return evaluation.passed, evaluation.severity

    assert check()[0]
    data.wait(days=14, hours=13)
    assert check() == (False, dg.AssetCheckSeverity.ERROR)
    files = sorted(path.name for path in (data.settings.state / "certificates").iterdir())
    assert files == ["current.json", "current.md"]
    (spec,) = asset.specs
    assert spec.freshness_policy == dg.FreshnessPolicy.time_window(
        fail_window=timedelta(days=1), warn_window=timedelta(hours=12)
    )
    data.edit = download(lambda _: b"")
    data.run_until_quiet()
    assert check() == (False, dg.AssetCheckSeverity.ERROR)
    for task in data.tasks:
        give_word(data.settings, task.name, "rejected", data.collector.clock.now())
    data.edit = None
    data.run_until_quiet()
    assert check()[0]
