"""Quantitative susceptibility mapping, susceptibility-weighted imaging and R2* of arrays."""
