"""Networks: building, surgery, weights."""
