"""The boards that can be emulated, as data."""

from dataclasses import dataclass

FOUR_CORES = 4


@dataclass(frozen=True)
class Machine:
    """A kind of processor, as the emulator, the distribution and the wheels name it.

    Attributes:
        name: as ``platform.machine()`` says it.
        emulator: QEMU's program.
        debian: the distribution's name of it.
        packages: of the distribution, beside their dependencies.
        wheels: of the Python registry; a version is this machine's where it has the package.
        platforms: wheel platform tags.
        libraries: folders of the root that its dynamic linker does not look into by itself.
        getsid: number of that system call; the guest makes it to mark the end of a frame.
    """

    name: str
    emulator: str
    debian: str
    packages: tuple[str, ...]
    wheels: tuple[str, ...]
    platforms: tuple[str, ...]
    libraries: tuple[str, ...]
    getsid: int


@dataclass(frozen=True)
class Core:
    """A core of a board.

    Attributes:
        cpu: QEMU's name of it.
        board: where it is.
        cpuinfo: what its /proc/cpuinfo says of each core; kernels are chosen by that.
    """

    name: str
    board: str
    machine: Machine
    cpu: str
    cpuinfo: dict[str, str]

    def proc_cpuinfo(self) -> str:
        """Return the text of /proc/cpuinfo."""
        blocks = (
            "".join(
                f"{key}\t: {value}\n" for key, value in ({"processor": i} | self.cpuinfo).items()
            )
            for i in range(FOUR_CORES)
        )
        return "\n".join(blocks) + "\n"


AARCH64 = Machine(
    "aarch64",
    "qemu-aarch64",
    "arm64",
    ("python3", "libstdc++6"),
    ("ai-edge-litert", "numpy", "pillow"),
    tuple(f"manylinux_2_{minor}_aarch64" for minor in range(17, 37)),
    (),
    156,
)
# The registry has no NumPy 1 and no Pillow for it; the distribution has.
ARMV7L = Machine(
    "armv7l",
    "qemu-arm",
    "armhf",
    ("python3", "python3-numpy", "python3-pil", "libstdc++6"),
    ("tflite-runtime==2.14.0",),
    ("manylinux_2_34_armv7l",),
    ("usr/lib/arm-linux-gnueabihf/blas", "usr/lib/arm-linux-gnueabihf/lapack"),
    147,
)

CORES: dict[str, Core] = {
    core.name: core
    for core in (
        Core(
            "cortex-a72",
            "Raspberry Pi 4",
            AARCH64,
            "cortex-a72",
            {
                "BogoMIPS": "108.00",
                "Features": "fp asimd evtstrm crc32 cpuid",
                "CPU implementer": "0x41",
                "CPU architecture": "8",
                "CPU variant": "0x0",
                "CPU part": "0xd08",
                "CPU revision": "3",
            },
        ),
        Core(
            "cortex-a76",
            "Raspberry Pi 5",
            AARCH64,
            "cortex-a76",
            {
                "BogoMIPS": "108.00",
                "Features": "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp "
                "cpuid asimdrdm lrcpc dcpop asimddp",
                "CPU implementer": "0x41",
                "CPU architecture": "8",
                "CPU variant": "0x4",
                "CPU part": "0xd0b",
                "CPU revision": "1",
            },
        ),
        Core(
            "armv7",
            "Raspberry Pi 4 with a 32-bit system",
            ARMV7L,
            "max",
            {
                "model name": "ARMv7 Processor rev 3 (v7l)",
                "Features": "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 "
                "lpae evtstrm crc32",
                "CPU implementer": "0x41",
                "CPU architecture": "7",
                "CPU variant": "0x0",
                "CPU part": "0xd08",
                "CPU revision": "3",
            },
        ),
    )
}
