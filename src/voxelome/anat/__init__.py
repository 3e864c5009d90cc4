"""Anatomical images: checks, orientation, bias field, intensities, and whether the skull is there."""
