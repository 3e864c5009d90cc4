"""From a BIDS dataset of brain MRI to maps, segmentations, features, models and reports."""

__version__ = "0.1.0"
