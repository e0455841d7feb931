"""A simulated Research API, for trying, teaching, tests and benchmarks.

Everything here answers from a made-up world that a seed determines. Of the rest of the package it shares only the field
registry, the clock and the settings: paths, payload keys, codes and rules are its own reading of the API reference, so
that a mistake of the client is not mirrored by its test double.
"""
