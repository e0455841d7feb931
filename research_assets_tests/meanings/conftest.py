"""Fixture: one moving world for all tests of this package, which only read it."""

import pytest

from research_assets_tests.meanings.moving_world import MovingWorld, build_moving_world


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> MovingWorld:
    """Return the data of five weeks of a world that moves."""
    return build_moving_world(tmp_path_factory.mktemp("moving") / "data")
