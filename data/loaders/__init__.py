"""Ways to the batches of an epoch. All give equal pixels; they differ in speed and memory."""
