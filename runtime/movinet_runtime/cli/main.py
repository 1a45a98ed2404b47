"""The command ``movinet``: finds its sub-commands in the packages that are installed.

Packages offer them as entry points of the group ``movinet.commands``. Nothing is
imported before a sub-command is named, so that ``--help`` answers at once.
"""

import io
import signal
import sys
from functools import cache
from importlib.metadata import EntryPoint, entry_points, version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from movinet_runtime.addresses import redacted_in
from movinet_runtime.cli.commands import known_commands
from movinet_runtime.errors import MissingPackageError, MovinetError
from movinet_runtime.install import install_hint
from movinet_runtime.quiet import hide_native_messages_at_exit

GROUP = "movinet.commands"
DEBUG = "--debug"  # taken anywhere on the line


class LazyGroup(TyperGroup):
    """Loads a sub-command's module when it is called."""

    def invoke(self, ctx: Any) -> Any:
        """Run a sub-command; say of an interrupt what click would swallow."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            print("movinet: interrupted", file=sys.stderr)
            raise SystemExit(130) from None

    def list_commands(self, ctx: Any) -> list[str]:
        """Name what is installed and what could be."""
        known = known_commands()
        return [*known, *sorted(_offered().keys() - known.keys())]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Load a sub-command, or stand in for it in the list."""
        points, known = _offered(), known_commands()
        if cmd_name not in points and cmd_name not in known:
            return None
        package, summary = known.get(cmd_name, ("", ""))
        if _wants_list():
            note = "" if cmd_name in points else " (not installed)"
            return _placeholder(cmd_name, summary + note)
        if cmd_name not in points:
            raise MissingPackageError(
                f"'movinet {cmd_name}' is not installed: {install_hint(package)}"
            )
        offered = points[cmd_name].load()
        if isinstance(offered, typer.Typer):  # with sub-commands of its own
            app = offered
        else:
            app = typer.Typer(rich_markup_mode="rich")
            app.command(cmd_name, help=offered.__doc__)(offered)
        command = typer.main.get_command(app)
        command.name = cmd_name
        return command


@cache
def _offered() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _wants_list() -> bool:
    """Whether the group's own help is asked for: then summaries do."""
    return all(argument.startswith("-") for argument in sys.argv[1:])


def _placeholder(name: str, summary: str) -> Any:
    app = typer.Typer()
    app.command(name, help=summary)(lambda: None)
    return typer.main.get_command(app)


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # rich alone takes 0.1 s to import
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(version("movinet-runtime"))
        raise typer.Exit


@app.callback()
def movinet(
    debug: Annotated[
        bool, typer.Option(DEBUG, help="Show the traceback of an error; goes anywhere.")
    ] = False,
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """MoViNet streaming video classification on small computers.

    \b
    movinet run clip.gif
    movinet export a0-stream -o a0.tflite
    movinet run clip.mp4 --model a0.tflite
    """


def main() -> None:
    """Run the command line; errors of the input are one line and exit code 2 (failed proofs: 1)."""
    arguments = [argument for argument in sys.argv[1:] if argument != DEBUG]
    hide_native_messages_at_exit()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a label that the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    # As if interrupted: unfinished outputs are removed on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    closed = getattr(signal, "SIGHUP", None)  # the terminal's end; nohup has it ignored
    if closed is not None and signal.getsignal(closed) is not signal.SIG_IGN:
        signal.signal(closed, lambda *_: sys.exit(128 + closed))
    try:
        app(arguments)
    except MovinetError as error:
        if DEBUG in sys.argv:
            raise
        print(f"movinet: {redacted_in(str(error))}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        print("movinet: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:
        raise SystemExit(141) from None
    except (OSError, MemoryError) as error:  # the machine's, not the program's
        if DEBUG in sys.argv:
            raise
        print(f"movinet: {redacted_in(_machine_says(error))}", file=sys.stderr)
        raise SystemExit(2) from None


def _machine_says(error: OSError | MemoryError) -> str:
    if isinstance(error, MemoryError):
        return "not enough memory"
    where = "" if error.filename is None else f": {error.filename}"
    return f"{error.strerror or error}{where}"


if __name__ == "__main__":
    main()
