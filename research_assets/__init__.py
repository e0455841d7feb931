"""Research Assets: TikTok's public data through its Research API, as a Dagster asset graph.

Nothing is imported here on purpose: importing the package must cost nothing and do nothing.
"""
