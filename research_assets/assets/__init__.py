"""What Dagster materializes, one module for each family; `study.py` and `definitions.py` put them together."""
