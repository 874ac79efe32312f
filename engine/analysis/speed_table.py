"""What `tools/analyze.py speed` found: as tables for people, and as plain values."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
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
STEPS = ("load", "prepare", "compute", "train")
BAR = "\u2588"


def print_speed(speed: Speed, title: str, loader: str, evaluated: str, console: Console | None = None) -> None:
    """Both tables and the verdict, to stdout, as wide as the terminal.

    Args:
        title: what a step is.
        loader: which one it is and why.
        evaluated: what evaluation was timed on.
    """
    console = console or Console()
    console.print(_times(speed, title))
    waits = f"{speed.waiting:.0%}" if speed.waiting >= 0.01 else "less than 1%"
    lines = [f"the {speed.limit} is the limit: as trained, a step waits {waits} of its time for data", f"loader: {loader}"]
    lines += [f"evaluation: {evaluated}"] if "evaluate" in speed.times else []
    console.print("\n".join(lines), highlight=False, end="\n\n")
    if any(trial.tried for trial in speed.trials):
        console.print(_trials(speed))
    for text in speed.not_tried():
        console.print(f"not tried: {text}", highlight=False)
    console.print(Text(speed.verdict(), style="bold"))


def _times(speed: Speed, title: str) -> Table:
    table = Table("", "a step", "images/s", "share", "", box=SIMPLE_HEAD, title=title, title_justify="left")
    for column in (1, 2, 3):
        table.columns[column].justify = "right"
    longest = max(speed.step(name) for name in STEPS)
    for name in speed.times:
        row = [PARTS[name], duration(speed.step(name)), _rounded(speed.rate(name))]
        if name in STEPS:
            share = speed.step(name) / speed.step("train")
            row += [f"{share:.0%}" if share >= 0.095 else f"{share:.1%}", BAR * round(20 * speed.step(name) / longest)]
        table.add_row(*row, style="bold" if name == "train" else "")
    return table


def _trials(speed: Speed) -> Table:
    title = "tried, each in turns with the config as it is, beside which the gain is measured"
    table = Table("change", "images/s", "gain", "and", box=SIMPLE_HEAD, title=title, title_justify="left")
    table.columns[0].overflow = table.columns[3].overflow = "fold"
    table.columns[1].no_wrap = table.columns[2].no_wrap = True
    table.columns[1].justify = table.columns[2].justify = "right"
    best = speed.best(same=True) or speed.best(same=False)
    for trial in (trial for trial in speed.trials if trial.tried):
        style = "bold green" if trial is best else "" if trial.helps else "dim"
        numbers = [_rounded(trial.rate), f"{trial.gain:.2f} x"] if trial.gains else ["", ""]
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


def _rounded(rate: float) -> str:
    """Three figures: more are noise."""
    return f"{float(f'{rate:.3g}'):,.0f}" if rate >= 100 else f"{rate:.3g}"


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
            if trial.tried
        ],
        "not_tried": speed.not_tried(),
        "best": best.change.text if best else "",
        "verdict": speed.verdict(),
    }
