"""The demonstration cohort with known truth: heads, lesions, contrasts and gradient echoes, all simulated."""
