"""Importers of networks; most need torch, and are run where it is installed."""
