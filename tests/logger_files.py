"""What the loggers beside W&B have written: the rows of CSV, the events of TensorBoard."""

import csv
from pathlib import Path


def csv_rows(folder: Path) -> list[dict[str, float]]:
    """Return the rows of metrics.csv without their empty cells."""
    with (folder / "csv/metrics.csv").open() as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return step and value of every event that TensorBoard shows, by tag."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # not always installed

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {tag: [(e.step, round(e.value, 4)) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
