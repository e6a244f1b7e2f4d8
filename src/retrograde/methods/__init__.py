"""Building blocks that several methods share, for plugins as for the strategies that ship."""
