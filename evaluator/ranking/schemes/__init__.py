"""From a table of scores to ranks: missing values, levels, and the tree of the scheme."""
