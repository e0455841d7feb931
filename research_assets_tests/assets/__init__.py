"""Tests of assets and checks, on an ephemeral Dagster instance, with the real collector and the sandbox over HTTP."""
