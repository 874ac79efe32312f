"""What `tools/analyze.py speed` found: as tables for people, and as plain values."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.analysis.speed import Speed, Trial
from engine.preflight.table import duration

PARTS = {
    "load": "loader alone",
    "prepare": "to device, normalise",
    "compute": "model alone",
    "train": "as trained",
    "evaluate": "evaluation, a batch",
}


def print_speed(speed: Speed, title: str, evaluated: str, console: Console | None = None) -> None:
    """Both tables and the verdict, to stdout, as wide as the terminal.

    Args:
        title: what a step is.
        evaluated: what evaluation was timed on.
    """
    console = console or Console()
    console.print(_times(speed, title))
    waits = f"As trained, a step waits {speed.waiting:.0%} of its time for data: the {speed.limit} is the limit."
    console.print(waits, highlight=False)
    if "evaluate" in speed.times:
        console.print(f"Evaluation: {evaluated}", highlight=False)
    console.print()
    if speed.trials:
        console.print(_trials(speed))
    if speed.left_out:
        console.print(f"not tried: {', '.join(speed.left_out)}", highlight=False, style="dim")
    console.print(Text(speed.verdict(), style="bold"))


def _times(speed: Speed, title: str) -> Table:
    table = Table("", "a step", "images/s", "share", "", title=title, title_justify="left")
    for column in (1, 2, 3):
        table.columns[column].justify = "right"
    for name in speed.times:
        if name in ("train", "evaluate"):
            table.add_section()
        share = speed.step(name) / speed.step("train")
        shown = name != "evaluate"
        bar = "\u2588" * round(20 * min(share, 1.5)) if shown else ""
        row = [PARTS[name], duration(speed.step(name)), f"{speed.rate(name):,.0f}", f"{share:.0%}" if shown else "", bar]
        table.add_row(*row, style="bold" if name == "train" else "")
    return table


def _trials(speed: Speed) -> Table:
    table = Table("change", "images/s", "gain", "and", title="tried, in turns with the config as it is", title_justify="left")
    table.columns[0].overflow = table.columns[3].overflow = "fold"
    table.columns[1].no_wrap = table.columns[2].no_wrap = True
    table.columns[1].justify = table.columns[2].justify = "right"
    best = speed.best(same=True) or speed.best(same=False)
    for trial in speed.trials:
        style = "bold green" if trial is best else "" if trial.helps else "dim"
        numbers = [f"{trial.rate:,.0f}", f"{trial.gain:.2f} x"] if trial.gains else ["", ""]
        table.add_row(Text("\n".join(trial.change.words)), *numbers, Text(_note(trial)), style=style)
    return table


def _note(trial: Trial) -> str:
    """What else the change does, or why there is nothing to say of it."""
    if not trial.gains:
        return trial.failed
    parts = [trial.change.effect]
    if trial.change.compiles:
        pays = f"made good after {trial.pays:,} steps" if trial.pays else "never made good"
        parts.append(f"compiling takes {duration(trial.warm_up)}, {pays}")
    if trial.gain > 1 and not trial.helps:
        parts.append("no more than noise" if trial.gain < 1.2 else "not in all turns")
    return "; ".join(parts)


def as_plain(speed: Speed) -> dict[str, Any]:
    """For --json: seconds, samples a second, gains as ratios."""
    best = speed.best(same=True) or speed.best(same=False)
    return {
        "times": {name: {"step": speed.step(name), "samples_per_second": speed.rate(name)} for name in speed.times},
        "waiting": speed.waiting,
        "limit": speed.limit,
        "changes": [
            {
                "change": trial.change.text,
                "keys": dict(trial.change.pairs),
                "gain": trial.gain if trial.gains else None,
                "gains": trial.gains,
                "samples_per_second": trial.rate if trial.gains else None,
                "helps": trial.helps,
                "effect": trial.change.effect,
                "same": trial.change.same,
                "warm_up": trial.warm_up,
                "pays": trial.pays,
                "failed": trial.failed,
            }
            for trial in speed.trials
        ],
        "left_out": speed.left_out,
        "best": best.change.text if best else "",
        "verdict": speed.verdict(),
    }
