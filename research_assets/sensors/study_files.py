"""The study files as a tick finds them, compared with the studies of the code location.

Each run loads the code location in a process of its own. While a study file is invalid, every run of every study fails,
so the sensors start none. Not here: the loading of study files (see study/loader.py).
"""

from collections.abc import Callable, Sequence

from research_assets.study.loader import StudyError
from research_assets.study.provenance import has_same_file
from research_assets.study.spec import StudySpec


class InvalidStudyFiles(ValueError):
    """No run was started, because each run would fail while a study file is invalid."""


def read_declared(read_studies: Callable[[], Sequence[StudySpec]]) -> Sequence[StudySpec]:
    """Return the studies of the files. Raise InvalidStudyFiles, which fails the tick and so causes an alert."""
    try:
        return read_studies()
    except StudyError as error:
        # Without its cause, because an alert has the text of the first one alone.
        raise InvalidStudyFiles(
            "No run was started: every run of every study would fail. Correct the study files; then the next tick "
            f"continues. {error}"
        ) from None


def describe_changed_files(loaded: Sequence[StudySpec], read_studies: Callable[[], Sequence[StudySpec]]) -> str:
    """Return how the study files differ from the studies of the code location; empty if they do not.

    Raises InvalidStudyFiles.
    """
    declared = {study.name: study for study in read_declared(read_studies)}
    known = {study.name: study for study in loaded}
    both = sorted(known.keys() & declared.keys())
    changes = {
        "added": sorted(declared.keys() - known.keys()),
        "changed": [name for name in both if not has_same_file(known[name], declared[name])],
        "removed": sorted(known.keys() - declared.keys()),
    }
    texts = [f"{', '.join(names)} ({change})" for change, names in changes.items() if names]
    if not texts:
        return ""
    return f"Study files are not loaded: {', '.join(texts)}. Reload the code location under Deployment."
