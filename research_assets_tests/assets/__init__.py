"""Assets and checks: on an ephemeral Dagster instance, with the real collector against the sandbox over HTTP."""
