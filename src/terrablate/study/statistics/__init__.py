"""Statistics of studies: pure functions on arrays."""
