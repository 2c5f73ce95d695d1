"""Whether this processor can run the packages: polars' wheels are made for AVX2, and Mage imports polars."""

import platform
import subprocess
import sys
from pathlib import Path

from ops.errors import LocalStackError

NEEDED = "avx2"
TOO_OLD = (
    "this processor has no AVX2, without which Mage ends with `Illegal instruction`: use a machine with an Intel "
    "processor since 2013 or an AMD one since 2015; of a virtual machine, set its processor to that of the host"
)
_INTEL = {"x86_64", "AMD64", "i386"}


def processor_features() -> str:
    """What the operating system says of an Intel or AMD processor; empty of others, and where it says nothing."""
    if platform.machine() not in _INTEL:
        return ""
    try:
        if sys.platform == "darwin":
            asked = ["sysctl", "-n", "machdep.cpu.features", "machdep.cpu.leaf7_features"]
            return subprocess.run(asked, capture_output=True, text=True, check=True).stdout
        return Path("/proc/cpuinfo").read_text()
    except (OSError, subprocess.CalledProcessError):
        return ""


def refuse_old_cpu() -> None:
    """LocalStackError when this processor is known to be without AVX2; before anything imports polars."""
    features = processor_features().lower().split()
    if features and NEEDED not in features:
        raise LocalStackError(TOO_OLD)
