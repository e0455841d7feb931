"""The requests of verification in the estimate, compared with what a sandbox counts."""

from research_assets.compliance.verification.cost import forecast_verification
from research_assets.settings import Settings
from research_assets_tests.compliance.verification.harness import VerificationHarness


def test_forecast_is_what_is_then_sent(settings: Settings) -> None:
    data = VerificationHarness(settings)
    assert forecast_verification(settings, (), data.collector.clock.now()) is None
    data.collect()
    data.collect("comments")

    def remaining() -> float:
        line = forecast_verification(data.settings, (), data.collector.clock.now())
        assert line is not None
        assert line.recurring_per_day == 2 * 3 / 15
        return line.remaining.requests

    assert remaining() == 0
    data.wait(days=14)
    assert remaining() == 6
    before = data.collector.requests_sent
    data.step()
    assert remaining() == 6 - (data.collector.requests_sent - before)
    data.run_until_quiet()
    assert data.collector.requests_sent - before == 6
    assert remaining() == 0


def test_forecast_of_lookups_is_a_hundred_videos_a_request(settings: Settings) -> None:
    data = VerificationHarness(settings, n_videos=150)
    data.collect()
    line = forecast_verification(data.settings, ("garden",), data.collector.clock.now())
    assert line is not None
    assert line.recurring_per_day == 2 / 15
    data.wait(days=14)
    line = forecast_verification(data.settings, ("garden",), data.collector.clock.now())
    assert line is not None
    assert line.remaining.requests == 2
