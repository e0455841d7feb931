"""A simulated Research API for trials, teaching, tests and benchmarks.

All answers come from an invented world that a seed determines. This package shares only the field registry and the
clock with the rest of the project. Paths, payload keys, codes and rules are its own reading of the API reference. A
shared constant would copy an error of the client into its test double.

Not here: the invented accounts, videos and comments (see world/).
"""
