"""Bridges to the streams of other suites."""
