"""Your studies: one folder per study, with its `defs.yaml`. Dagster loads every study in this folder.

Not here: studies of other folders (see RESEARCH_STUDIES in .env.example) and code.
"""
