"""Fixtures: one warehouse and one export of it in every format, for all tests that only read them."""

from pathlib import Path

import pytest

from research_assets.export import FORMATS, Export, ExportRequest, export
from research_assets.settings import Settings
from research_assets_tests.export.export_warehouse import NOW, STUDY, make_warehouse


@pytest.fixture(scope="package")
def export_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return make_warehouse(tmp_path_factory.mktemp("export") / "data")


@pytest.fixture(scope="package")
def full_export(export_settings: Settings) -> Export:
    """All marts in every format."""
    return export(export_settings, ExportRequest(formats=FORMATS), [STUDY], NOW)


@pytest.fixture(scope="package")
def pseudonymous_export(export_settings: Settings) -> Export:
    """All marts in every format, pseudonymous."""
    return export(export_settings, ExportRequest(formats=FORMATS, pseudonymous=True), [STUDY], NOW)


@pytest.fixture
def own_export_settings(tmp_path: Path) -> Settings:
    """Settings of a warehouse that only this test uses."""
    return make_warehouse(tmp_path / "own")
