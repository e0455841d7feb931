"""Tests of the documentation: every command in it runs, and every name in it exists."""
