"""Acts on whole runs: restore and rerun, trash and undo, adopting old folders."""
