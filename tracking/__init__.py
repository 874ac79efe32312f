"""The record of a run, and what reads records. Knows nothing of torch, models or configs; files are the truth.

Here stands what a run writes, and how one record is read. Above it, each knowing only what stands before it: `reading` (all
runs of a folder), `mirrors` (copies in other trackers), `judging` (differences against noise), `screens` (what people are
shown), `keeping` (removing, restoring, adopting), `page` (the report) and `commands` (of `exp.py`). Names are imported when
they are used: listing runs needs few.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracking.reading.lookup import choose_parent as choose_parent
    from tracking.reading.lookup import find_run as find_run
    from tracking.record import Record as Record
    from tracking.record import read_record as read_record
    from tracking.run import QuietRun as QuietRun
    from tracking.run import Run as Run
    from tracking.screens.ending import outcome as outcome
    from tracking.screens.run_card import run_card as run_card
    from tracking.start import Facts as Facts
    from tracking.start import resume_run as resume_run
    from tracking.start import start_run as start_run

_WHERE = {
    "choose_parent": "reading.lookup",
    "find_run": "reading.lookup",
    "Record": "record",
    "read_record": "record",
    "QuietRun": "run",
    "Run": "run",
    "outcome": "screens.ending",
    "run_card": "screens.run_card",
    "Facts": "start",
    "resume_run": "start",
    "start_run": "start",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'tracking' has no {name!r}")
    return getattr(import_module(f"tracking.{_WHERE[name]}"), name)
