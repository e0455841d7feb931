"""Tests of the project: one folder per package, the import rules, the browser tests and the benchmarks."""
