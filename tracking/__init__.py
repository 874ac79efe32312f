"""The record of a run, and what reads records. Knows nothing of torch, models or configs; files are the truth."""

from tracking.card import run_card
from tracking.outcome import outcome
from tracking.record import Record, read_record, state_of
from tracking.resolve import choose_parent, find_run, list_runs
from tracking.run import QuietRun, Run
from tracking.start import Facts, resume_run, start_run

__all__ = [
    "Facts",
    "QuietRun",
    "Record",
    "Run",
    "choose_parent",
    "find_run",
    "list_runs",
    "outcome",
    "read_record",
    "resume_run",
    "run_card",
    "start_run",
    "state_of",
]
