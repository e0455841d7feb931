"""The documentation, held against the project: every command in it is run, every name in it exists."""
