"""What `exp.py` does where it is more than reading and printing: one file for each kind of command."""
