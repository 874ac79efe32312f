"""MLflow, to a server or a local database: MLFLOW_TRACKING_URI or tracking_uri; else MLflow's own ./mlflow.db."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from tracking.mirrors import MIRRORS, Mirror, RunFacts

MOST_METRICS, MOST_PARAMETERS = 1000, 100  # that one request may hold
LONGEST, LONGEST_NOTE = 500, 5000  # characters of a parameter or tag, and of the description, that every server takes
STATUS = {"finished": "FINISHED", "interrupted": "KILLED", "lost": "KILLED"}


@MIRRORS.register("mlflow")
class MlflowMirror(Mirror):
    """One MLflow run. Parameters are those of the start, as MLflow lets none change; what resuming changes becomes a tag.

    Args:
        tracking_uri: https://..., sqlite:///mlflow.db; "" for MLFLOW_TRACKING_URI.
        experiment: "" for the name of the folder in which the folder of runs lies.
    """

    library = "mlflow"

    def __init__(self, tracking_uri: str = "", experiment: str = "") -> None:
        self.tracking_uri, self.experiment = tracking_uri, experiment
        self.client: Any = None
        self.run, self.id, self.started = "", "", 0.0
        self._metrics: list[Any] = []

    def start(self, run: RunFacts, known: str) -> str:
        """A new run, or `known` again."""
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self.client, self.started = MlflowClient(self.tracking_uri or None), run.started
        values = {key: str(value)[:LONGEST] for key, value in run.config.items()}
        if known:
            self.id = known
            self.client.update_run(known, status="RUNNING")
            before = self.client.get_run(known).data.params
            for key, value in values.items():
                if before.get(key) != value:
                    self.client.set_tag(known, f"resumed.{key}", value)
            return known
        tags = {**run.facts, **{f"tag.{tag}": "true" for tag in run.tags}, "why": run.why, "expect": run.expect}
        tags = {_name(key): value[:LONGEST] for key, value in tags.items() if value}
        tags["mlflow.note.content"] = "\n\n".join(text for text in (run.why, run.notes) if text)[:LONGEST_NOTE]
        begun = self.client.create_run(self._experiment(self.experiment or run.project), int(1000 * run.started), tags, run.id)
        self.id = str(begun.info.run_id)
        parameters = [Param(key, value) for key, value in values.items()]
        for first in range(0, len(parameters), MOST_PARAMETERS):
            self.client.log_batch(self.id, params=parameters[first : first + MOST_PARAMETERS])
        return self.id

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Kept until there are many, or until `flush`."""
        from mlflow.entities import Metric

        moment = int(1000 * (self.started + values.get("time", 0.0)))
        self._metrics += [Metric(_name(name), value, moment, step) for name, value in values.items()]
        if len(self._metrics) >= MOST_METRICS:
            self.flush()

    def flush(self) -> None:
        """Sends what was kept."""
        for first in range(0, len(self._metrics), MOST_METRICS):
            self.client.log_batch(self.id, metrics=self._metrics[first : first + MOST_METRICS])
        self._metrics = []

    def figure(self, path: Path) -> None:
        """An artifact in figures/."""
        self.client.log_artifact(self.id, str(path), "figures")

    def finish(self, status: str, best: dict[str, float]) -> None:
        """Best scores as metrics, MLflow's status and ours."""
        for name, value in best.items():
            self.client.log_metric(self.id, f"best/{_name(name)}", value)
        self.client.set_tag(self.id, "status", status)
        self.client.set_terminated(self.id, STATUS.get(status, "FAILED"))

    def _experiment(self, name: str) -> str:
        """The experiment's id; it is made if need be, unless another run that begins just now makes it."""
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(name)
        if found is None:
            with suppress(MlflowException):
                return str(self.client.create_experiment(name))
            found = self.client.get_experiment_by_name(name)
        return str(found.experiment_id)


def _name(text: str) -> str:
    """With the letters only that every server takes."""
    return re.sub(r"[^\w\-. /]", "_", text)
