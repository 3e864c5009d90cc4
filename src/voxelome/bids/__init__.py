"""The dataset: its inventory, the plan made from it, names, sidecars, descriptions."""
