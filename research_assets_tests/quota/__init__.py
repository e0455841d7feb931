"""Tests of the quota ledger and the fair shares."""
