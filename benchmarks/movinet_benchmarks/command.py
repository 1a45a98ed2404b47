"""How a module of measurements is run as a command: ``python -m movinet_benchmarks.peers``."""

import sys
from collections.abc import Callable
from typing import Any

import typer

from movinet_runtime.errors import MovinetError
from movinet_runtime.quiet import hide_native_messages_at_exit


def run(main: Callable[..., Any]) -> None:
    """Run a function with the command line's options; what goes wrong is one line, exit code 2."""
    hide_native_messages_at_exit()
    try:
        typer.run(main)
    except MovinetError as error:
        print(f"movinet: {error}", file=sys.stderr)
        raise SystemExit(2) from None
