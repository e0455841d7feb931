"""Entry point of `python -m research_assets.sandbox`."""

from research_assets.sandbox.server import command

command()
