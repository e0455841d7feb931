"""Tests of planning/: the agenda, allocation, forecasts and their inputs."""
