"""Reads records: one row a run, the index over all rows, lookup, conditions, differences. Nothing here changes a run."""
