"""What must be the same wherever work is done: files, packages, our own code."""

import hashlib
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from movinet_runtime.workers import Lost, in_order, results

T = TypeVar("T")
R = TypeVar("R")

PACKAGES = ("movinet-runtime", "ai-edge-litert", "av", "numpy", "pillow")
CODE = ("movinet_runtime",)


def facts(*models: str, code: Sequence[str] = CODE) -> Mapping[str, str]:
    """Tell them.

    Args:
        models: paths, as they are seen here.
        code: packages of ours.
    """
    found = {}
    for i, model in enumerate(models):
        name = "the model" if len(models) == 1 else f"model {i + 1}"
        found[f"{name} with sha256"] = _content(Path(model))
    found["Python"] = ".".join(platform.python_version_tuple()[:2])
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    for package in code:
        found[f"code of {package.replace('_', '-')} with sha256"] = _code(package)
    return found


def ordered_results(
    where: str,
    function: Callable[[T], R],
    tasks: Iterable[T],
    models: Sequence[tuple[str, str]] = (),
    code: Sequence[str] = CODE,
    last_first: bool = False,
) -> Iterator[R | Lost]:
    """Run a function on each task, and yield results in the order of the tasks.

    Args:
        where, function, tasks: see :func:`movinet_runtime.workers.results`.
        models: paths here and as workers see them, for the facts.
        code: packages of ours that workers must have as they are here.
        last_first: the first task's result is yielded last: it lasts longest, and begins first.

    Raises:
        WorkersError, UsageError, MissingPackageError: see there.
    """
    there = partial(facts, *(path for _, path in models), code=code)
    here = facts(*(path for path, _ in models), code=code)
    found = results(where, function, tasks, there, here)
    if not last_first:
        yield from in_order(found)
        return
    last: list[R | Lost] = []

    def others() -> Iterator[tuple[int, R | Lost]]:
        for index, result in found:
            if index:
                yield index - 1, result
            else:
                last.append(result)

    yield from in_order(others())
    yield from last


def _content(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        return f"not there ({error.strerror})"


def _code(package: str) -> str:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return "not installed"
    folder = Path(next(iter(spec.submodule_search_locations)))
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]
