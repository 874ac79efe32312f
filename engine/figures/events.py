"""The run's pictures into its TensorBoard files, as they are."""

from __future__ import annotations

import time
from pathlib import Path


def add_pictures(folder: Path, pictures: list[Path], step: int) -> None:
    """Appends PNG files to the event files in `folder`, each under figures/<its name>.

    Args:
        step: the optimizer step they belong to.
    """
    from tensorboard.compat.proto.event_pb2 import Event  # slow to import
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder), filename_suffix=".figures")
    for path in pictures:
        image = Summary.Image(encoded_image_string=path.read_bytes())
        summary = Summary(value=[Summary.Value(tag=f"figures/{path.stem}", image=image)])
        writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))
    writer.close()
