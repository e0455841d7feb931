"""The Study component: a study file becomes assets, partitions and checks.

The file is read by `study_file`, the same for Dagster and for the command line; here stands only what Dagster needs.
"""

from dataclasses import dataclass

import dagster as dg
from pydantic import BaseModel

from research_assets.assets._collection import collected_asset
from research_assets.assets.comments import comments
from research_assets.assets.engagements import engagements
from research_assets.assets.network import follow_lists
from research_assets.assets.users import users
from research_assets.assets.videos import videos
from research_assets.checks import study_checks
from research_assets.collect.spec import StudySpec
from research_assets.study_file import read_study_file
from research_assets.study_model import StudyFile
from research_assets.study_scaffold import StudyScaffolder


def study_assets(study: StudySpec) -> list[dg.AssetsDefinition]:
    """The collected assets of a study: what its rules and its panel ask for."""
    content = [family for family in (videos(study), comments(study)) if family is not None]
    observed = [family for family in (users(study), *follow_lists(study), *engagements(study)) if family is not None]
    return [
        collected_asset(study, "content", content),
        *(collected_asset(study, family.entity, [family]) for family in observed),
    ]


@dg.scaffold_with(StudyScaffolder)
@dataclass(frozen=True)
class Study(dg.Component):
    """A study of TikTok's public data: what to search, from when to when, and what else to collect around it.

    Its attributes are plain YAML without templates, because the command line reads the same file without Dagster.
    """

    spec: StudySpec

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """The attributes, for the check of the YAML and for the component's page in the UI."""
        return StudyFile

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> "Study":
        """The study of the file that Dagster found; StudyError with file and line for each mistake."""
        file = next(
            path for path in (context.path / "defs.yaml", context.path / "defs.yml", context.path) if path.is_file()
        )
        specs = {declared.spec.name: declared.spec for declared in read_study_file(file)}
        return cls(specs[getattr(attributes, "name", "")])

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002  Dagster calls it
        """The study's assets and checks; resources are bound by the code location."""
        return dg.Definitions(assets=study_assets(self.spec), asset_checks=study_checks(self.spec))
