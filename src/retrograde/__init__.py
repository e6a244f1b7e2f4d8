"""retrograde: a continual-learning benchmark suite. Parts import from its modules; see the README."""
