"""The report page: what it is made of, how it is written, how it is served."""
