"""The command `research-assets`: what Dagster's own commands do not do.

One module per command, imported when it is called, so that `--help` answers at once. What a command does beyond
reading its arguments and printing belongs to the room that does it.
"""

from research_assets.cli.main import main

__all__ = ["main"]
