"""Tests of the files on disk: captures, raw tables, locks."""
