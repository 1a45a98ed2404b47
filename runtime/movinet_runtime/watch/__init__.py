"""``movinet watch``: cameras in, events out, for months.

    config.toml -> config.py       what is wanted, as frozen values
    source.py                      a camera's pictures, and its packets on the side
    camera.py                      one camera: pictures -> motion.py -> network -> events.py
    output.py                      what frames, events, clips and states are given to
    service.py                     all cameras and outputs; signals, watchdog, reload

Nothing here is imported by the rest of the runtime.
"""
