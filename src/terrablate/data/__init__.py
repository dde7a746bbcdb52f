"""Data: sources, packs, splits, the data module."""
