"""Finished runs on images that they were not trained on: the locked test split, and other data."""
