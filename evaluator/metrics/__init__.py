"""The metrics: their registry, their formulas, and the geometry the formulas need."""
