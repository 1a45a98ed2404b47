"""Model Garden checkpoints: a prefix, or a folder with one checkpoint."""

import re
from pathlib import Path

from movinet_convert.parameters import Array
from movinet_convert.sources.loaded import Read
from movinet_convert.sources.names import garden_name, hub_name
from movinet_models.errors import WeightsError
from movinet_models.family import ModelSpec

# What training leaves in a checkpoint beside the model.
BESIDE_MODEL = re.compile(
    r"_CHECKPOINTABLE_OBJECT_GRAPH|optimizer|OPTIMIZER_SLOT|save_counter|global_step|keras_api/metrics"
)

PART = re.compile(r"\.(index|data-\d+-of-\d+)$")


def reads(path: Path) -> bool:
    """Whether there is one checkpoint, and no SavedModel."""
    return _found(path) is not None


def read(path: Path, spec: ModelSpec) -> Read:
    """Read the tensors by their object paths; variable names repeat in these checkpoints."""
    prefix = _found(path)
    if prefix is None:
        raise WeightsError(f"{path} holds no checkpoint")
    tensors, files = read_checkpoint(prefix, by_name=False)
    return Read(tensors, files)


def _found(path: Path) -> Path | None:
    if Path(f"{path}.index").is_file():
        return path
    if path.is_file() and PART.search(path.name):  # one of a checkpoint's files means them all
        return path.with_name(PART.sub("", path.name))
    if not path.is_dir() or any(path.rglob("saved_model.pb")):
        return None
    found = list(path.rglob("*.index"))
    return found[0].with_suffix("") if len(found) == 1 else None


def read_checkpoint(prefix: Path, by_name: bool) -> tuple[dict[str, Array], list[Path]]:
    """Read a TensorFlow checkpoint; ``by_name``: by variable names, else by object paths.

    Hub files keep variables in a flat list, so only their names tell them apart; in
    Model Garden checkpoints names repeat, and only paths do.

    Raises:
        WeightsError: unreadable, or two tensors of one canonical name.
    """
    from movinet_convert.backend import graph_pb, tf

    reader = tf.train.load_checkpoint(str(prefix))
    graph = graph_pb.TrackableObjectGraph()
    graph.ParseFromString(reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH"))
    keys = [key for key in reader.get_variable_to_shape_map() if not BESIDE_MODEL.search(key)]
    names = {
        attribute.checkpoint_key: attribute.full_name
        for node in graph.nodes
        for attribute in node.attributes
    }
    tensors: dict[str, Array] = {}
    for key in sorted(keys):
        name = hub_name(names[key]) if by_name else garden_name(key)
        if name in tensors:
            raise WeightsError(f"{prefix}: two tensors are '{name}'; the second is {key}")
        tensors[name] = reader.get_tensor(key)
    return tensors, sorted(prefix.parent.glob(f"{prefix.name}.data-*"))
