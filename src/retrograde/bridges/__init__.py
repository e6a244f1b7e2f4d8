"""Other suites' streams."""
