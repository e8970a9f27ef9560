"""Statistics with NumPy alone: ranks with ties, paired tests with adjustment, tail probabilities."""
