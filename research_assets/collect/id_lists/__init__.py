"""Id lists from files: which of the ids the API returns (audit), and their rows (rehydrate).

`reader` reads a file, `batches` and `run` request its ids, `audit` and `rehydrate` evaluate the responses. The command
line calls them.

Not here: Dagster and studies.
"""
