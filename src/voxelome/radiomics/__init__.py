"""Radiomic features of regions of images: pure functions on arrays."""
