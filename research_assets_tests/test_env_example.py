"""`.env.example` matches `settings.VARIABLES`: every variable once, with its description and its default."""

import re

from research_assets.settings import PROJECT_DIR, VARIABLES

ENTRY = re.compile(r"^# (?P<description>.+)\n(?:# )?(?P<name>[A-Z_]+)=(?P<default>.*)$", re.MULTILINE)


def test_env_example_lists_every_variable_with_description_and_default() -> None:
    entries = {m["name"]: m for m in ENTRY.finditer((PROJECT_DIR / ".env.example").read_text())}
    assert set(entries) == {variable.name for variable in VARIABLES.values()}
    for attribute, variable in VARIABLES.items():
        entry = entries[variable.name]
        assert entry["description"].startswith(f"{variable.description}."), variable.name
        # The default of the data folder is a path of this machine; the example describes it as text.
        assert entry["default"] == ("" if attribute == "root" else variable.default), variable.name
