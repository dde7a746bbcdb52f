"""Augmentation: batched, per sample, on the device, for any number of bands."""
