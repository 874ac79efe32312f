"""What `tools/analyze.py` shows of a training: the range test, the schedule, where a step's time goes."""
