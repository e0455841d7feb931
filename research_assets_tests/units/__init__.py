"""Tests of units/: the windows of a search."""
