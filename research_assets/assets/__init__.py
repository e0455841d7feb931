"""The assets that Dagster materializes.

`collected.py` and `entities.py` declare the collected assets, `run_events.py` reports one run of them, and
`partition_charts.py` draws their charts. `warehouse.py`, `report.py` and `export.py` hold the assets built from
collected data, and `simulated.py` marks simulated data. Not here: how studies become definitions (see component.py) and
the code location (see definitions.py).
"""
