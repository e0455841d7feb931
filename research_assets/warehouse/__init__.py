"""How the marts are built with dbt, and how readers open them: build inputs, dbt calls, tests, notebook.

Not here: the SQL of the marts (see `dbt_project/`), and the assets and checks that Dagster shows
(see `assets/warehouse.py`).
"""
