"""Brain extraction, and label images on other grids."""
