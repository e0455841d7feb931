"""`dg scaffold defs research_assets.Study <name>`: a study file as `research-assets new-study` writes it."""

from datetime import timedelta

import dagster as dg
from pydantic import BaseModel, Field

from research_assets.clock import SystemClock
from research_assets.study_draft import DraftError, StudyDraft, write_draft


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
