"""Tests of estimates/: formulas against published values, and intervals against simulation."""
