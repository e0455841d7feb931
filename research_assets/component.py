"""The Study component: a study file becomes assets, partitions and checks. `dg scaffold defs` writes a new study file.

Not here: reading a study file, which is the same for Dagster and for the command line (see study/loader.py), and the
text of a new file (see study/draft.py).
"""

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import dagster as dg
from pydantic import BaseModel, Field

from research_assets.assets.collected import collected_asset
from research_assets.assets.entities import comments, engagements, follow_lists, playlists, users, videos
from research_assets.assets.simulated import simulated_note
from research_assets.checks import study_checks
from research_assets.clock import SystemClock
from research_assets.planning.inputs import read_observed_periods
from research_assets.quota.server_time import server_clock_or_local
from research_assets.settings import DEMO_STUDIES_DIR, Settings, data_settings
from research_assets.study.draft import DraftError, StudyDraft, write_draft
from research_assets.study.loader import COMPONENT_TYPE, apply_settings, read_study_file
from research_assets.study.model import StudyFile
from research_assets.study.spec import StudySpec
from research_assets.units.periods import ObservedPeriods


class StudyParams(BaseModel):
    """Parameters of `dg scaffold defs research_assets.Study <name>`. Lists are separated by commas."""

    start: str = Field("", description="First day (UTC); default: four weeks ago")
    end: str = Field("", description="Last day (UTC); default: no end")
    regions: str = Field("", description="Region codes, such as DE,AT")
    hashtags: str = Field("", description="Hashtags without #; default without any condition: the study's name")
    keywords: str = Field("", description="Words of captions")
    usernames: str = Field("", description="Accounts whose videos are searched")
    comments: str = Field("all", description="all, none, top:<n> or sample:<share>")
    users: str = Field("authors", description="Whose profiles: authors, panel, none or top:<n>")
    panel: str = Field("", description="Accounts whose followers, following, likes, reposts and pins are collected")
    observe: str = Field("weekly", description="weekly or daily")


class StudyScaffolder(dg.Scaffolder[StudyParams]):
    """Writes the commented file of a new study, with the name of its folder, as `research-assets new-study` does."""

    @classmethod
    def get_scaffold_params(cls) -> type[StudyParams]:
        """Return the options of the command."""
        return StudyParams

    def scaffold(self, request: dg.ScaffoldRequest[StudyParams]) -> None:
        """Write the file.

        Raises DraftError if the loader would reject the file, or if anything but a new YAML file is requested.
        """
        if request.scaffold_format != "yaml" or request.append:
            raise DraftError(
                "Cannot scaffold the study: a study is a YAML file of its own, because the command line reads it "
                "without Python. Nothing was written. Use the format yaml."
            )
        params, name = request.params, request.target_path.name
        conditions = {
            key: tuple(part.strip() for part in getattr(params, key).split(",") if part.strip())
            for key in ("regions", "hashtags", "keywords", "usernames")
        }
        if not any(conditions.values()):
            conditions["hashtags"] = (name,)
        draft = StudyDraft(
            name=name,
            start=params.start or str(SystemClock().now().date() - timedelta(days=28)),
            end=params.end,
            **conditions,
            comments=params.comments,
            users=params.users,
            panel=tuple(part.strip() for part in params.panel.split(",") if part.strip()),
            observe=params.observe,
        )
        write_draft(draft, request.target_path)


@dg.scaffold_with(StudyScaffolder)
@dataclass(frozen=True)
class Study(dg.Component):
    """A study of TikTok's public data: its query, its period, and the comments, profiles and lists collected with it.

    The attributes are plain YAML without templates, because the command line reads the same file without Dagster.
    """

    spec: StudySpec
    periods: Mapping[str, ObservedPeriods] = field(default_factory=dict)
    """Partitions of the observed entities; see `read_observed_periods`."""
    warehouse_prefix: tuple[str, ...] = ()
    """First parts of the keys of the marts."""
    simulated: str = ""
    """Paragraph that marks simulated data in the descriptions; empty for data of the real API."""

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """Return the model of the attributes. Dagster checks the YAML with it and shows it in the component's docs."""
        return StudyFile

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> "Study":
        """Return the study of the file that Dagster found. Raises StudyError with file and line for each issue."""
        file = next(
            path for path in (context.path / "defs.yaml", context.path / "defs.yml", context.path) if path.is_file()
        )
        specs = {declared.spec.name: declared.spec for declared in read_study_file(file)}
        settings = data_settings()
        spec = specs[getattr(attributes, "name", "")]
        return cls.of(apply_settings(spec, settings), settings)

    @classmethod
    def of(cls, spec: StudySpec, settings: Settings, periods: Mapping[str, ObservedPeriods] | None = None) -> "Study":
        """Return a study with the partitions that its data has; `periods` if the caller has read them."""
        if periods is None:
            periods = observed_periods_of(spec, settings)
        return cls(spec, periods, settings.warehouse_prefix, simulated_note(settings))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002  Dagster passes it
        """Return the assets and checks of the study. The code location adds the resources."""
        return dg.Definitions(
            assets=study_assets(self.spec, self.periods, self.simulated),
            asset_checks=study_checks(self.spec, self.warehouse_prefix),
        )


def component_docs() -> dict[str, Any]:
    """Return metadata of the code location with the docs of this component, for its page under Deployment.

    Dagster would build the docs of all installed components, which takes seconds in each process. This is its format.
    """
    docs = {
        "name": COMPONENT_TYPE,
        "description": inspect.cleandoc(Study.__doc__ or ""),
        "owners": [],
        "tags": [],
        "schema": json.dumps(StudyFile.model_json_schema()),
        "example": (DEMO_STUDIES_DIR / "demo" / "defs.yaml").read_text(),
    }
    return {"plugin_component_types_json": [{"name": "research_assets", "componentTypes": [docs]}]}


def observed_periods_of(study: StudySpec, settings: Settings) -> dict[str, ObservedPeriods]:
    """Return the partitions of the observed entities of a study at the server's time."""
    return read_observed_periods(settings, study, server_clock_or_local(settings, SystemClock()).now())


def study_assets(
    study: StudySpec, periods: Mapping[str, ObservedPeriods] | None = None, simulated: str = ""
) -> list[dg.AssetsDefinition]:
    """Return the collected assets of a study, which its rules and its panel determine.

    `periods` are the partitions of the observed entities; for others they begin with the running one. `simulated` is a
    paragraph that marks simulated data.
    """
    content = [entity for entity in (videos(study), comments(study)) if entity is not None]
    observed = [
        entity
        for entity in (users(study), playlists(study), *follow_lists(study), *engagements(study))
        if entity is not None
    ]
    return [
        collected_asset(study, "content", content, simulated=simulated),
        *(
            collected_asset(study, entity.entity, [entity], (periods or {}).get(entity.entity), simulated)
            for entity in observed
        ),
    ]
