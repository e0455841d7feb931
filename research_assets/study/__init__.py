"""Study files and the plain form of a study: model, loader, panel files, JSON schema, drafts of new files.

No module imports Dagster, so the terminal and the component use the same code. Not here: the component (see
component.py); which units a study expects (see units/targets.py).
"""
