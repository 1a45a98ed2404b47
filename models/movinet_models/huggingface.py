"""Where a repository at Hugging Face has its file of weights: by its listing, not by a known name.

The hub's API names a repository's files as JSON (``siblings``, each with ``rfilename``); a file
is at ``/REPOSITORY/resolve/main/NAME``.
"""

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from movinet_models.transfer import Limits, UnavailableError, transfer

API = "/api/models/"
ENDINGS = (".pth", ".pt", ".bin", ".ckpt")  # as PyTorch's files are called
LARGEST_LISTING = 1 << 20  # bytes


def file_address(listing: str, limits: Limits) -> str:
    """Return the address of the one file of PyTorch weights that a repository has.

    Args:
        listing: of the repository: ``https://huggingface.co/api/models/OWNER/NAME``.
        limits: of the download of the listing.

    Raises:
        UnavailableError: it does not answer, answers something else, or has no such file, or
            several.
    """
    with tempfile.TemporaryDirectory(prefix="movinet-") as folder:
        part = Path(folder) / "listing"
        short = replace(limits, size=LARGEST_LISTING)
        transfer(listing, part, lambda head: None, lambda done, total: None, short)
        try:
            files = [entry["rfilename"] for entry in json.loads(part.read_bytes())["siblings"]]
            names = [name for name in files if name.lower().endswith(ENDINGS)]
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise UnavailableError("no list of a repository's files came") from error
    if len(names) != 1:
        raise UnavailableError(
            f"it has {len(names) or 'no'} file{'s' * (len(names) > 1)} of PyTorch weights: "
            f"{', '.join(names[:5]) or ', '.join(files[:5]) or 'it is empty'}"
        )
    return f"{listing.replace(API, '/', 1)}/resolve/main/{quote(names[0])}"
