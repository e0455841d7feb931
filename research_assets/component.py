"""`dg scaffold defs research_assets.Study <name>`: a study file as `research-assets new-study` writes it."""

from dataclasses import dataclass
from datetime import timedelta

import dagster as dg
from pydantic import BaseModel, Field

from research_assets.assets.collected import collected_asset
from research_assets.assets.entities import comments, engagements, follow_lists, users, videos
from research_assets.checks import study_checks
from research_assets.clock import SystemClock
from research_assets.study.draft import DraftError, StudyDraft, write_draft
from research_assets.study.loader import read_study_file
from research_assets.study.model import StudyFile
from research_assets.study.spec import StudySpec

# JOINED: """The Study component: a study file becomes assets, partitions and checks.
#
# The file is read by `study_file`, the same for Dagster and for the command line; here stands only what Dagster needs.
# """


class StudyParams(BaseModel):
    """What `dg scaffold` asks for; lists are written with commas."""

    start: str = Field("", description="First day, UTC; without it four weeks ago")
    end: str = Field("", description="Last day, UTC; without it the study runs on")
    regions: str = Field("", description="Region codes, such as DE,AT")
    hashtags: str = Field("", description="Hashtags without #; without any condition the study's name")
    keywords: str = Field("", description="Words of captions")
    usernames: str = Field("", description="Accounts whose videos are searched")
    comments: str = Field("all", description="all, none, top:<n> or sample:<share>")
    users: str = Field("authors", description="Whose profiles: authors, panel, none or top:<n>")
    panel: str = Field("", description="Accounts whose followers, following, likes, reposts and pins are asked")
    observe: str = Field("weekly", description="weekly or daily")


class StudyScaffolder(dg.Scaffolder[StudyParams]):
    """Writes the commented file of a new study, named like its folder."""

    @classmethod
    def get_scaffold_params(cls) -> type[StudyParams]:
        """The options of the command."""
        return StudyParams

    def scaffold(self, request: dg.ScaffoldRequest[StudyParams]) -> None:
        """Write the file. Raises DraftError if the loader would not take it, or for anything but a new YAML file."""
        if request.scaffold_format != "yaml" or request.append:
            raise DraftError("A study is a YAML file of its own: the command line reads it without Python. Use yaml.")
        asked, name = request.params, request.target_path.name
        conditions = {
            key: tuple(part.strip() for part in getattr(asked, key).split(",") if part.strip())
            for key in ("regions", "hashtags", "keywords", "usernames")
        }
        if not any(conditions.values()):
            conditions["hashtags"] = (name,)
        draft = StudyDraft(
            name=name,
            start=asked.start or str(SystemClock().now().date() - timedelta(days=28)),
            end=asked.end,
            **conditions,
            comments=asked.comments,
            users=asked.users,
            panel=tuple(part.strip() for part in asked.panel.split(",") if part.strip()),
            observe=asked.observe,
        )
        write_draft(draft, request.target_path)


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
