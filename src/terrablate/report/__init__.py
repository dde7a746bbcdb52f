"""The page of a study or of a run, and the figures and tables that go with it; imports no torch."""
