"""Columns of the tables of features: one value a row, and one participant and visit a row."""

IDENTIFIERS = ("participant_id", "session_id")
# What tells one feature of a visit from the others; joined, the columns of the wide table.
FEATURE_KEYS = ("image", "roi", "filter", "class", "feature")
SEPARATOR = "__"
COLUMNS = {
    "participant_id": "Participant",
    "session_id": "Visit; n/a where the dataset has no sessions",
    "image": "Image or map; for the class shape the space in which the region was measured",
    "roi": "Region of interest",
    "filter": "Derived image, by the name that PyRadiomics gives it (see Filters)",
    "class": "Class of the feature",
    "feature": "Feature (see Features)",
    "value": "Value; n/a where it cannot be computed",
    "unit": "Unit of the value; intensity is the unit of the image, empty a pure number",
    "reason": "Why a value is n/a",
}
# Histograms are of images as they are, which is this filter; the percentiles among their features.
ORIGINAL, HISTOGRAM = "original", "histogram"
# The region that every visit has.
BRAIN = "brain"
# What tables of a visit are, in the words of their data dictionaries; {} is the name of a network.
RADIOMICS = "Radiomic features, one value a row"
HISTOGRAMS = "Histograms of regions, one value a row"
OF_NETWORK = "What the network {} says of the case"


def percentile(percent: int) -> str:
    """Return the name of the feature that a percentile of a histogram is."""
    return f"Percentile{percent:02d}"
