"""What a trained network looks at, as pictures beside the record of its run."""
