"""Trackio, on this machine (`trackio show`), in a Hugging Face Space or on a server of your own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tracking.mirrors import MIRRORS, Mirror, RunFacts


@MIRRORS.register("trackio")
class TrackioMirror(Mirror):
    """One Trackio run, which bears the name of the run's folder.

    Args:
        project: "" for the name of the folder in which the folder of runs lies.
        space: user/name of a Space (log in with `hf auth login`); "" for TRACKIO_SPACE_ID, TRACKIO_SERVER_URL or none.
    """

    library = "trackio"

    def __init__(self, project: str = "", space: str = "") -> None:
        self.project, self.space = project, space
        self.run: Any = None
        self._last = 0

    def start(self, run: RunFacts, known: str) -> str:
        """A new run, or the one of that name again."""
        import trackio

        texts = {"why": run.why, "expect": run.expect, "notes": run.notes, "tags": ", ".join(run.tags)}
        self.run = trackio.init(
            self.project or run.project,
            name=known or run.id,
            space_id=self.space or None,
            config={**run.config, **{f"run.{name}": text for name, text in {**run.facts, **texts}.items()}},
            resume="allow",
            embed=False,
        )
        self.link = f"https://huggingface.co/spaces/{self.space}" if self.space else ""
        return known or run.id

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """A row; its time is kept under another name, as Trackio has one of its own."""
        self._last = max(self._last, step)
        self.run.log({"seconds" if name == "time" else name: value for name, value in values.items()}, step=step)

    def figure(self, path: Path) -> None:
        """An image at the last step."""
        import trackio

        self.run.log({f"figures/{path.stem}": trackio.Image(str(path))}, step=self._last)

    def finish(self, status: str, best: dict[str, float]) -> None:
        """Best scores and status as a last row."""
        self.run.log({**{f"best/{name}": value for name, value in best.items()}, "status": status}, step=self._last)
        self.run.finish()
