"""Execute tutorial.ipynb and keep its outputs, without what differs from run to run.

    python examples/execute_tutorial.py            # make tutorial

Two minutes on one core. Pictures are kept as they come: look at them.
"""

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).with_name("tutorial.ipynb")
SECONDS = 600
FOLDERS = re.compile(r"(?:/[\w.+-]+)+/(?=movinet-tutorial-)")


def executed(notebook: Any, folder: Path) -> Any:
    """Run all cells in one kernel that starts in a folder.

    Raises:
        CellExecutionError: a cell failed.
    """
    where = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", resources=where).execute()
    return notebook


def cleaned(notebook: Any) -> Any:
    """Drop times of cells, names of folders, warnings, and versions."""
    notebook.metadata.language_info = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type != "code":
            continue
        cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
        for output in cell.outputs:
            if "text" in output:
                lines = FOLDERS.sub("", output.text).splitlines()
                output.text = "".join(f"{line.rstrip()}\n" for line in lines)
    return notebook


def main() -> None:
    """Write the notebook anew, whole or not at all."""
    notebook = nbformat.read(NOTEBOOK, 4)
    with tempfile.TemporaryDirectory(prefix="movinet-") as folder:
        executed(notebook, Path(folder))
    nbformat.write(cleaned(notebook), NOTEBOOK)
    print(f"{NOTEBOOK}: {NOTEBOOK.stat().st_size / 1e6:.2f} MB", file=sys.stderr)


if __name__ == "__main__":
    main()
