"""The command `research-assets`, for tasks that Dagster's own commands do not cover.

Each command is one module, imported only when it is called, so that `--help` answers without delay. A command reads
arguments and prints results. Not here: the work itself (see the package that each command calls).
"""

from research_assets.cli.main import main

__all__ = ["main"]
