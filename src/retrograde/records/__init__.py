"""Records, the results that a run writes, and the store that keeps them."""
