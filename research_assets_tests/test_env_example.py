"""`.env.example` says what `settings.VARIABLES` says: every variable once, with its meaning and its default."""

import re

from research_assets.settings import PROJECT_DIR, VARIABLES

ENTRY = re.compile(r"^# (?P<meaning>.+)\n(?:# )?(?P<name>[A-Z_]+)=(?P<default>.*)$", re.MULTILINE)


def test_the_example_agrees_with_the_settings() -> None:
    entries = {m["name"]: m for m in ENTRY.finditer((PROJECT_DIR / ".env.example").read_text())}
    assert set(entries) == {variable.name for variable in VARIABLES.values()}
    for attribute, variable in VARIABLES.items():
        entry = entries[variable.name]
        assert entry["meaning"].startswith(f"{variable.description}."), variable.name
        # The data folder's default is a path of this machine; the example says it in words.
        assert entry["default"] == ("" if attribute == "root" else variable.default), variable.name
