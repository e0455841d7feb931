"""One warehouse made by hand, and one export of it in every format, for all tests that only read."""

from pathlib import Path

import pytest

from research_assets.export import FORMATS, Export, ExportRequest, export
from research_assets.settings import Settings
from research_assets_tests.export.house import NOW, STUDY, furnish


@pytest.fixture(scope="package")
def house(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return furnish(tmp_path_factory.mktemp("house") / "data")


@pytest.fixture(scope="package")
def whole(house: Settings) -> Export:
    """Everything in every format."""
    return export(house, ExportRequest(formats=FORMATS), [STUDY], NOW)


@pytest.fixture(scope="package")
def veiled(house: Settings) -> Export:
    """The same, pseudonymous."""
    return export(house, ExportRequest(formats=FORMATS, pseudonymous=True), [STUDY], NOW)


@pytest.fixture
def own(tmp_path: Path) -> Settings:
    """A warehouse of the test's own."""
    return furnish(tmp_path / "own")
