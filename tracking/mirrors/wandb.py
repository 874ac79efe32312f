"""Weights & Biases. Log in once with `wandb login`, or set WANDB_API_KEY; WANDB_MODE=offline needs neither."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tracking.mirrors import MIRRORS, Mirror, RunFacts

LONGEST_TAG = 64  # characters; W&B refuses the whole run for a longer one


@MIRRORS.register("wandb")
class WandbMirror(Mirror):
    """One W&B run. Its files, also those to be synced later, lie in the run's mirrors/wandb/.

    Args:
        project: "" for the name of the folder in which the folder of runs lies.
        entity: user or team; "" for the default one.
    """

    library = "wandb"

    def __init__(self, project: str = "", entity: str = "") -> None:
        self.project, self.entity = project, entity
        self.run: Any = None

    def start(self, run: RunFacts, known: str) -> str:
        """A new run, or `known` again; `step` is the axis of all charts, so that rows of a resumed run may go back."""
        import wandb

        sections: dict[str, Any] = {}
        for key, value in run.config.items():  # W&B wants no dots in names
            section, _, name = key.rpartition(".")
            (sections.setdefault(section, {}) if section else sections)[name] = value
        self.run = wandb.init(
            project=self.project or run.project,
            entity=self.entity or None,
            id=known or None,
            resume="allow" if known else None,
            name=run.id,
            notes="\n\n".join(text for text in (run.why, run.expect and f"expected: {run.expect}", run.notes) if text),
            tags=[tag[:LONGEST_TAG] for tag in run.tags],
            config={**sections, "run": run.facts},
            allow_val_change=True,
            dir=str(run.path / "mirrors"),
            # The record has code and commit; a diff of the working tree might hold what is not to leave it.
            settings=wandb.Settings(console="off", disable_git=True, disable_code=True),
        )
        self.run.define_metric("step", hidden=True)
        self.run.define_metric("*", step_metric="step")
        self.link = "" if self.run.offline else self.run.url or ""
        return str(self.run.id)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """A row of the history."""
        self.run.log({**values, "step": step})

    def figure(self, path: Path) -> None:
        """An image in the media panel."""
        import wandb

        self.run.log({f"figures/{path.stem}": wandb.Image(str(path))})

    def finish(self, status: str, best: dict[str, float]) -> None:
        """Best scores and status in the summary; what can be resumed is `preempted`."""
        self.run.summary.update({f"best/{name}": value for name, value in best.items()})
        self.run.summary["status"] = status
        if status == "interrupted":
            self.run.mark_preempting()
        self.run.finish(exit_code=int(status != "finished"))
