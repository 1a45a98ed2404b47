"""``movinet watch``: cameras of a configuration, until it is stopped."""

import sys
from contextlib import suppress
from getpass import getpass
from pathlib import Path
from typing import Annotated

import typer

from movinet_runtime.cli.run import embedded_model
from movinet_runtime.errors import UsageError
from movinet_runtime.watch.config import WatchConfig, read_config
from movinet_runtime.watch.web.session import hash_password as hashed

SHORTEST = 8  # characters of a password
EXAMPLE = Path(__file__).with_name("example.toml")


def watch(
    config: Annotated[
        Path | None, typer.Argument(help="A TOML file; --example prints one.")
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Only check the file, the models and the sources' names."),
    ] = False,
    example: Annotated[
        bool, typer.Option("--example", help="Print a configuration with everything explained.")
    ] = False,
    hash_password: Annotated[
        bool,
        typer.Option(
            "--hash-password",
            help="Ask for a password, or read it, and print its hash for the page.",
        ),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Events, clips and states of cameras as JSON lines on standard output."
        ),
    ] = False,
) -> None:
    """Watch cameras for actions, for months: events to files, MQTT, addresses and programs.

    A line an event goes to standard output, what goes wrong to standard error. SIGTERM or
    Ctrl-C ends events and the program with exit code 0, SIGHUP reads the file again.

    movinet watch --example > config.toml

    movinet watch config.toml --check

    movinet watch config.toml
    """
    if example:
        print(EXAMPLE.read_text("utf-8"), end="")
        return
    if hash_password:
        password = _asked()
        if len(password) < SHORTEST:
            raise UsageError(f"a password has {SHORTEST} characters at least")
        print(hashed(password))
        return
    if config is None:
        raise UsageError("which configuration? 'movinet watch --example' prints one")
    if check:
        found = _read(config)
        print(f"{config} is right: {len(found.cameras)} cameras, {', '.join(found.cameras)}")
        return
    from movinet_runtime.watch.console import ConsoleOutput
    from movinet_runtime.watch.service import serve

    serve(config, _read, _say, (ConsoleOutput(as_json, _say),))


def _asked() -> str:
    """Return a password: typed twice at a terminal, else the first line of standard input."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass("Password: ")
    if getpass("Again: ") != password:
        raise UsageError("these were two different passwords")
    return password


def _read(path: Path) -> WatchConfig:
    return read_config(path, embedded_model)


def _say(line: str) -> None:
    """Say a line to people. That nobody hears it is no reason to end a camera's thread."""
    with suppress(OSError, ValueError):
        print(f"movinet: {line}", file=sys.stderr, flush=True)
