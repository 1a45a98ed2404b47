"""Which commands there are, and what to install for each: a table beside this file.

It is made of what the packages offer; the tests compare them.
"""

import json
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("commands.json")


@cache
def known_commands() -> dict[str, tuple[str, str]]:
    """Return command -> (what to install, summary), in the order of a first day."""
    rows = json.loads(TABLE.read_text("utf-8"))
    return {name: (package, summary) for name, (package, summary) in rows.items()}
