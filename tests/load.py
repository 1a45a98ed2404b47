"""What movinet watch costs: four RTSP cameras on one core, and memory over many frames.

    python -m tests.load --seconds 60
    python -m tests.load --frames 200000
    python -m tests.load --page
    python -m tests.load --start

The cameras play drawn figures, and real clips where $MOVINET_SHARED has them, 10 frames a second,
320 pixels wide; the embedded model looks at each of them. MQTT goes to a mosquitto, clips to disk.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from movinet_benchmarks.process.memory import resident_bytes
from movinet_models import embedded
from movinet_models.figures import ACTIONS, IDLE
from movinet_models.figures.scene import Scene
from movinet_runtime import StreamModel, open_frames
from movinet_runtime.outputs.video import save_frames
from movinet_runtime.preprocess import resized
from movinet_runtime.sources.clock import MonotonicClock
from movinet_runtime.sources.frame import Frame
from movinet_runtime.watch.camera import Camera
from movinet_runtime.watch.config import CameraConfig, read_config
from movinet_runtime.watch.output import Output
from movinet_runtime.watch.service import Service
from tests.broker import MOSQUITTO, mosquitto
from tests.rtsp import Pictures, RtspServer
from tests.watching import Picture

CAMERAS, RATE, SIZE, FILM = 4, 10, (240, 320), 40.0
PORT = 18181
LOOKING = f"""
import sys, threading, urllib.request
def look(path):
    with urllib.request.urlopen("http://127.0.0.1:{PORT}" + path) as answer:
        while answer.read(4096):
            pass
for _ in range(int(sys.argv[1])):
    for path in ("/events", "/stream/cam"):
        threading.Thread(target=look, args=(path,)).start()
"""
SETTLE = 10.0  # seconds until all cameras are open


def films() -> list[list[Picture]]:
    """Draw two films, and read two clips or draw two more."""
    found = []
    folder = os.environ.get("MOVINET_SHARED")
    if folder:
        for name in ("arm_wrestling.mp4", "cleaning_pool.mp4"):
            frames = open_frames(Path(folder) / "clips" / name).sampled(RATE)
            found.append([resized(frame.image, SIZE) for frame in frames])
    for seed in range(CAMERAS - len(found)):
        rng = np.random.default_rng(seed)
        script = [(ACTIONS["jumping jacks"], FILM / 2), (IDLE["standing"], FILM / 2)]
        drawn = Scene.random(rng, SIZE[0]).frames(script, RATE, rng)
        found.append([_wide(one) for one in drawn])
    return found


def _wide(picture: Picture) -> Picture:
    border = (SIZE[1] - SIZE[0]) // 2
    return np.pad(picture, ((0, 0), (border, border), (0, 0)), mode="edge")


def pictures(film: list[Picture]) -> Pictures:
    """Play a film over and over."""
    return lambda now: film[int(now * RATE) % len(film)]


def four_cameras(seconds: float) -> None:
    """Serve cameras here, and watch them in a process with one core."""
    with tempfile.TemporaryDirectory(prefix="movinet-load-") as name, ExitStack() as stack:
        folder = Path(name)
        text = f'[defaults]\nrate = {RATE}\nmotion = false\n[clips]\nfolder = "clips"\n'
        if MOSQUITTO:
            broker = stack.enter_context(mosquitto(folder))
            text += f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'
        for number, film in enumerate(films()):
            server = RtspServer(0, pictures(film), RATE)
            stack.callback(server.kill)
            text += f'[cameras.cam{number}]\nsource = "{server.url}"\n'
        (folder / "config.toml").write_text(text)
        command = [sys.executable, "-m", "tests.load", "--child", name, "--seconds", str(seconds)]
        core = {max(os.sched_getaffinity(0))}
        child = subprocess.Popen(command, preexec_fn=lambda: os.sched_setaffinity(0, core))
        child.wait()


def watched(folder: Path, seconds: float) -> None:
    """Watch for some seconds; print what it took."""
    config = read_config(folder / "config.toml", lambda: embedded.MODEL)
    service = Service(config, lambda line: print(line, file=sys.stderr))
    time.sleep(SETTLE)
    before = {name: camera.status() for name, camera in service.cameras.items()}
    begin, used = time.monotonic(), time.process_time()
    time.sleep(seconds)
    used, lasted = time.process_time() - used, time.monotonic() - begin
    after = {name: camera.status() for name, camera in service.cameras.items()}
    frames = sum(after[name].frames - before[name].frames for name in after)
    dropped = sum(after[name].dropped - before[name].dropped for name in after)
    found = {
        "cameras": {name: round(status.fps, 2) for name, status in after.items()},
        "frames": frames,
        "late": round(dropped / max(1, frames + dropped), 4),
        "of one core": round(used / lasted, 3),
        "latency, ms": round(sum(s.latency for s in after.values()) / len(after), 1),
        "resident MB": round(resident_bytes() / 1e6, 1),
    }
    service.close()
    print(json.dumps(found, indent=1))


def many_frames(count: int) -> None:
    """Look at many frames as fast as it goes; print the growth of memory."""
    clock = MonotonicClock()
    config = CameraConfig("cam", "camera:0", embedded.MODEL, patience=2)
    camera = Camera(config, StreamModel(embedded.MODEL, threads=1), Output(), clock=clock)
    film = films()[-1]
    sizes = []
    for number in range(count):
        camera._look(Frame(film[number % len(film)], clock.now()))
        if number % max(1, count // 20) == count // 40:
            sizes.append(round(resident_bytes() / 1e6, 2))
    print(json.dumps({"frames": count, "resident MB": sizes}))


def page(seconds: float) -> None:
    """Print resident memory of movinet watch without the page, with it, and with those who look.

    Each takes server-sent events and a stream of pictures.
    """
    found = {}
    with tempfile.TemporaryDirectory(prefix="movinet-load-") as name, ExitStack() as stack:
        film, path = Path(name) / "film.mp4", Path(name) / "config.toml"
        save_frames(film, films()[-1], RATE)
        for kind, section in ("without", ""), ("with", f"[web]\nport = {PORT}\n"):
            path.write_text(f'[cameras.cam]\nsource = "film.mp4"\n{section}')
            words = [sys.executable, "-m", "movinet_runtime.cli.main", "watch", str(path)]
            service = subprocess.Popen(words, stdout=subprocess.DEVNULL)
            stack.callback(service.kill)
            time.sleep(seconds)
            found[kind] = _resident(service.pid)
        for count in (1, 10):
            looking = subprocess.Popen([sys.executable, "-c", LOOKING, str(count)])
            stack.callback(looking.kill)
            time.sleep(seconds)
            assert looking.poll() is None, "they do not look"
            found[f"{count} look"] = _resident(service.pid)
            looking.kill()
    print(json.dumps(found, indent=1))


def start(times: int = 7) -> None:
    """Print seconds from the start of the process to the first label of an RTSP camera."""
    found = []
    with tempfile.TemporaryDirectory(prefix="movinet-load-") as name, ExitStack() as stack:
        server = RtspServer(0, pictures(films()[-1]), RATE)
        stack.callback(server.kill)
        path = Path(name) / "config.toml"
        path.write_text(f'[cameras.cam]\nsource = "{server.url}"\n[web]\nport = {PORT}\n')
        words = [sys.executable, "-m", "movinet_runtime.cli.main", "watch", str(path)]
        for _ in range(times):
            began = time.monotonic()
            service = subprocess.Popen(words, stdout=subprocess.DEVNULL)
            stack.callback(service.kill)
            while not _labelled():
                time.sleep(0.01)
            found.append(round(time.monotonic() - began, 2))
            service.terminate()
            service.wait()
    print(json.dumps({"seconds": found, "median": sorted(found)[times // 2]}))


def _labelled() -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/api/cameras") as answer:
            found = json.load(answer)
            return [bool(one["prediction"]) for one in found["cameras"]] == [True]
    except OSError:
        return False


def _resident(pid: int) -> float:
    """MB of another process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--frames", type=int, help="Many frames instead.")
    parser.add_argument("--page", action="store_true", help="What the page costs instead.")
    parser.add_argument("--start", action="store_true", help="Time to the first label instead.")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        watched(options.child, options.seconds)
    elif options.frames is not None:
        many_frames(options.frames)
    elif options.start:
        start()
    elif options.page:
        page(options.seconds)
    else:
        four_cameras(options.seconds)


if __name__ == "__main__":
    main()
