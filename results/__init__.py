"""Results: what came of it. One file, one table."""
