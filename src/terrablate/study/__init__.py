"""Studies: which runs answer a question, that each of them is run once, and what they gave."""
