"""What `exp.py` understands and prints: its arguments, completion, tables and screens."""
