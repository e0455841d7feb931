"""Your studies: one folder each, with a `defs.yaml` in it. Dagster loads whatever stands here."""
