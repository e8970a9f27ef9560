"""From the files of a case to its scores, and from the scores of all cases to a summary."""
