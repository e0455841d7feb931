"""Sizes of property tests: a small one that repeats the same examples, and a large random one for `make test-long`."""

from typing import Any

from hypothesis import settings

LONG_EXAMPLES = 1000
"""Examples of the profile `long`, which `--long` loads before the test modules are imported."""


def sized(default: int, long: int, **options: Any) -> settings:
    """Return settings with `default` examples, or with `long` random ones in the large profile."""
    is_long = settings.default is not None and settings.default.max_examples == LONG_EXAMPLES
    return settings(max_examples=long if is_long else default, derandomize=not is_long, deadline=None, **options)
