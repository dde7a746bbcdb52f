"""What a network is made of: a table of its layers, with sizes, costs and receptive fields. No run depends on it."""
