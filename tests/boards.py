"""Real SSH servers on loopback that play boards; their settings are in files of their own."""

import getpass
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")


@contextmanager
def boards(
    folder: Path, monkeypatch: pytest.MonkeyPatch, names: Mapping[str, str | None]
) -> Iterator[None]:
    """Start a server for each name; in its place a command may be given that it always runs."""
    if SSHD is None or shutil.which("ssh") is None:
        pytest.skip("no OpenSSH server and client here (package openssh-server)")
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
    (folder / "authorized").write_bytes((folder / "user.pub").read_bytes())
    Path("/run/sshd").mkdir(exist_ok=True)
    client = folder / "config"
    place = folder / "bin"
    place.mkdir()
    wrapper = place / "ssh"  # the only way to give ssh another file of settings
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {client} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", str(place), prepend=":")
    with ExitStack() as servers, client.open("w") as settings:
        for name, forced in names.items():
            port = servers.enter_context(_server(folder, forced))
            settings.write(
                f"Host {name} {name}-again\n HostName 127.0.0.1\n Port {port}\n"
                f" User {getpass.getuser()}\n IdentityFile {folder}/user\n"
                f" UserKnownHostsFile {folder}/known\n StrictHostKeyChecking accept-new\n"
            )
        settings.flush()
        yield


@contextmanager
def _server(folder: Path, forced: str | None) -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    options = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "authorized",
        "PasswordAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
        "StrictModes": "no",
        "UsePAM": "no",
        "PidFile": "none",
    }
    if forced is not None:
        options["ForceCommand"] = forced
    settings = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    server = subprocess.Popen([str(SSHD), "-D", "-e", "-f", "/dev/null", *settings])
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    try:
        yield port
    finally:
        server.terminate()
        server.wait()
