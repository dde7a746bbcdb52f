"""Training: the Lightning module, the overfitting monitor, records, `run(config)`."""
