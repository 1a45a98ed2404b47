"""What is known of each epoch, as it goes: a CSV table, and scalars for TensorBoard."""

import csv
import io
import shutil
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from movinet_convert.backend import tf
from movinet_convert.training.plan import Epoch
from movinet_runtime.files import written_whole

TABLE, EVENTS = "epochs.csv", "tensorboard"


class Log:
    """Writes ``epochs.csv`` and ``tensorboard/`` into a folder.

    TensorBoard itself need not be installed where a network is trained: its scalars are
    tensors with a word of metadata.
    """

    def __init__(self, folder: Path, resume: bool = False) -> None:
        self._folder = folder
        if not resume:  # TensorBoard would draw an earlier training with this one
            shutil.rmtree(folder / EVENTS, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = tf.summary.create_file_writer(str(folder / EVENTS))

    def add(self, history: Sequence[Epoch]) -> None:
        """Take in the last epoch."""
        text = io.StringIO(newline="")
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["epoch", *(field.name for field in fields(Epoch))])
        for number, epoch in enumerate(history, start=1):
            rows.writerow([number, *asdict(epoch).values()])
        with written_whole(self._folder / TABLE) as temporary:
            temporary.write_text(text.getvalue(), "utf-8")
        scalar = tf.compat.v1.SummaryMetadata(
            plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"),
            data_class=1,  # DATA_CLASS_SCALAR of summary.proto
        )
        with self._writer.as_default():
            for name, value in asdict(history[-1]).items():
                if value is not None:
                    tf.summary.write(name, tf.constant(value, tf.float32), len(history), scalar)
        self._writer.flush()

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()
