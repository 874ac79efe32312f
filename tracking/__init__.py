"""The record of a run, and what reads records. Knows nothing of torch, models or configs; files are the truth.

Here stands what a run writes; `reading` reads records, `judging` weighs differences against noise, `keeping` acts on
whole runs, `screens` is what `exp.py` prints. Names are imported when they are used: listing runs needs few of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracking.card import run_card
    from tracking.ending import outcome
    from tracking.parent import choose_parent
    from tracking.reading.lookup import find as find_run
    from tracking.record import Record, read_record, state_of
    from tracking.run import QuietRun, Run
    from tracking.start import Facts, resume_run, start_run

_WHERE = {
    "Facts": "start",
    "QuietRun": "run",
    "Record": "record",
    "Run": "run",
    "choose_parent": "parent",
    "find_run": "reading.lookup:find",
    "outcome": "ending",
    "read_record": "record",
    "resume_run": "start",
    "run_card": "card",
    "start_run": "start",
    "state_of": "record",
}
__all__ = [
    "Facts",
    "QuietRun",
    "Record",
    "Run",
    "choose_parent",
    "find_run",
    "outcome",
    "read_record",
    "resume_run",
    "run_card",
    "start_run",
    "state_of",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'tracking' has no {name!r}")
    module, _, attribute = _WHERE[name].partition(":")
    return getattr(import_module(f"tracking.{module}"), attribute or name)
