"""The learning rate of a whole run before it begins: a picture, and the rates at the steps that tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.figures.pictures import GREY, INK, LINES, new_axes, save


@dataclass(frozen=True)
class Outline:
    """A schedule and what divides it, in optimizer steps.

    Attributes:
        factors: name of a parameter group -> its factor of the rate.
    """

    schedule: Callable[[int], float]
    total_steps: int
    steps_per_epoch: int
    warmup: int
    milestones: Sequence[int]
    factors: dict[str, float]

    def telling_steps(self) -> list[tuple[int, str]]:
        """(step, what happens there), in order; a step that means several things is named once."""
        last = self.total_steps - 1
        peak = max(self.sampled(), key=self.schedule)
        marks = [(0, "first"), (self.warmup, "warm-up is over" if self.warmup else "")]
        marks += [(step, "milestone") for step in self.milestones]
        marks += [(round(share * last), name) for share, name in ((0.25, "a quarter"), (0.5, "half"), (0.75, "three quarters"))]
        marks += [(peak, "peak"), (last, "last")]
        named: dict[int, list[str]] = {}
        for step, what in marks:
            if what and 0 <= step <= last:
                named.setdefault(step, []).append(what)
        return [(step, ", ".join(what)) for step, what in sorted(named.items())]

    def lines(self) -> list[tuple[float, str]]:
        """(factor, groups that have it), greatest first; of more than five factors the greatest and the least."""
        by_factor: dict[float, list[str]] = {}
        for name, factor in self.factors.items():
            by_factor.setdefault(factor, []).append(name)
        found = []
        for factor, names in sorted(by_factor.items(), reverse=True):
            text = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            found.append((factor, text + (f" (x {factor:g})" if factor != 1 else "")))
        return found if len(found) <= 5 else [found[0], found[-1]]

    def sampled(self, most: int = 2000) -> list[int]:
        """Steps from first to last, all of them or about `most`, those around each milestone among them."""
        last = self.total_steps - 1
        steps = set(range(0, self.total_steps, max(self.total_steps // most, 1))) | {last, min(self.warmup, last)}
        steps |= {s for m in self.milestones for s in (m - 1, m) if 0 <= s <= last}
        return sorted(steps)

    def peak(self) -> float:
        """The greatest rate."""
        return max(map(self.schedule, self.sampled()))

    def unreached(self) -> list[int]:
        """Milestones that lie beyond the end."""
        return [step for step in self.milestones if step >= self.total_steps]


def group_lines(param_groups: Sequence[dict[str, Any]], peak: float) -> list[str]:
    """`bias: 12 parameters, rate x 2 (at most 0.2), weight decay 0` for each parameter group."""
    lines = []
    for group in param_groups:
        factor = group["lr_factor"]
        count = sum(p.numel() for p in group["params"])
        decay = f", weight decay {group['weight_decay']:g}" if "weight_decay" in group else ""
        lines.append(f"{group['name']}: {count:,} parameters, rate x {factor:g} (at most {factor * peak:.4g}){decay}")
    return lines


def draw_schedule(outline: Outline, path: Path, title: str) -> Path:
    """Rate over steps (below) and epochs (above), a line for each factor; warm-up shaded, milestones dotted."""
    figure, axes = new_axes(title, "optimizer step", "learning rate")
    steps = outline.sampled()
    rates, lines = [outline.schedule(step) for step in steps], outline.lines()
    for color, (factor, label) in zip(LINES, lines, strict=False):
        axes.plot(steps, [factor * rate for rate in rates], color=color, linewidth=2.5, label=label)
    top = max(max(rates) * lines[0][0], 1e-12)
    axes.set_ylim(0, 1.16 * top)
    axes.set_xlim(0, max(outline.total_steps - 1, 1))
    if outline.warmup:
        axes.axvspan(0, outline.warmup, color=GREY, alpha=0.15, linewidth=0)
        axes.annotate("warm-up", (outline.warmup, 1.13 * top), xytext=(4, 0), textcoords="offset points", va="top",
                      fontsize=11, color=INK)  # fmt: skip
    for step in outline.milestones:
        if step < outline.total_steps:
            axes.axvline(step, color=INK, linewidth=1.2, linestyle=":")
            axes.annotate(f"{step:,}", (step, 1.13 * top), xytext=(4, 0), textcoords="offset points", va="top",
                          fontsize=11, color=INK)  # fmt: skip
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    per_epoch = max(outline.steps_per_epoch, 1)
    above = axes.secondary_xaxis("top", functions=(lambda s: s / per_epoch, lambda e: e * per_epoch))
    above.set_xlabel("epoch", fontsize=12, color=INK)
    above.tick_params(labelsize=11, colors=INK)
    above.spines["top"].set_color(GREY)
    if len(lines) > 1:
        axes.legend(facecolor="white", framealpha=0.9, edgecolor="white", fontsize=11, labelcolor=INK)
    return save(figure, path)
