"""Brain extraction by networks, and label images carried to other grids."""
