"""The last screen of a run: its score beside its parent's, what became of its claim, and what to do next."""

from __future__ import annotations

import shlex
from pathlib import Path

from tracking import wording
from tracking.judging import claim
from tracking.judging.groups import other_data, other_words, pool, verdict
from tracking.judging.noise import difference, spread
from tracking.reading.index import Runs, load
from tracking.reading.lookup import lower_is_better
from tracking.reading.summary import Row, value_of


def outcome(run: Path) -> str:
    """A few lines on the ended run in `run`. Reads the records beside it and writes nothing."""
    runs = load(run.parent, write=False)
    row = runs.by_id[run.name]
    rows = _scores(runs, row)
    if row["expect"]:
        judged = claim.judge(runs, row)
        rows.append(("expected", row["expect"]))
        rows.append(("verdict", f"proposed: {judged['proposal']}" if judged else "yours to give: the expectation is free text"))
    where = "" if run.parent == Path("exp") else f" --output-dir {shlex.quote(str(run.parent))}"
    commands = [f"show {row['id']}"]
    commands += [f"diff {row['id']}"] if row["parent"] in runs.by_id else []
    commands += [f'verdict {row["id"]} "..."'] if row["why"] or row["expect"] else []
    rows += [("next", f"python tools/exp.py {command}{where}") for command in commands]
    labels = [label if i == 0 or label != rows[i - 1][0] else "" for i, (label, _) in enumerate(rows)]
    return "\n".join(f"{label:<9} {text}" for label, (_, text) in zip(labels, rows, strict=True))


def _scores(runs: Runs, row: Row) -> list[tuple[str, str]]:
    """The primary metric of the run, of its repeats, and against the run that it came from."""
    metric = row["primary_metric"]
    if row["value"] is None:
        return []
    step = row["metrics"][metric]["best_step"]
    found = [("score", f"{metric} {wording.number(row['value'])}" + (f" at step {step}" if step is not None else ""))]
    pooled = pool(runs.rows, metric)
    mine = spread(claim.values_of(pooled, row, metric))
    if mine.std is not None:
        found.append(("repeats", f"{mine.n}, mean {wording.number(mine.mean)}, std {wording.number(mine.std)}"))
    base = claim.baseline(runs, row)
    if base is not None and value_of(base, metric) is not None:
        theirs = spread(claim.values_of(pooled, base, metric))
        gap = difference(mine, theirs)
        label = "parent" if base["id"] == row["parent"] else "against"  # of a repeat, what the first of them came from
        mean = f"{wording.number(theirs.mean)}" + (f" (mean of {theirs.n})" if theirs.n > 1 else "")
        if other_data(row, base, metric):
            said = f"on {other_words(row, base)}, not comparable"
        else:
            said = f"so {wording.signed(gap.value)}: {verdict(gap, lower_is_better(runs.rows, metric))}"
        found.append((label, f"{base['id']}: {mean}, {said}"))
    return found
