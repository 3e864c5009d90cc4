"""Models of an outcome, and their honest validation: pure functions on tables."""
