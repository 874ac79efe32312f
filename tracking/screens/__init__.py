"""What people are shown of records: the screens of `exp.py`, its arguments, a run's first and last screen, a model card."""
