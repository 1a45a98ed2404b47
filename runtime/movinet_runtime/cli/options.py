"""Options that need each other."""

import typer

from movinet_runtime.errors import UsageError


def only_with(context: typer.Context, applies: bool, what: str, *names: str) -> None:
    """Refuse options that were given where they change nothing.

    Args:
        context: of the command.
        applies: whether they do change something.
        what: they are for, for people.
        names: of the command's parameters.

    Raises:
        UsageError: one of them was given in vain.
    """
    for name in names:
        source = context.get_parameter_source(name)
        if not applies and source is not None and source.name == "COMMANDLINE":
            raise UsageError(f"--{name.replace('_', '-')} is for {what}")
