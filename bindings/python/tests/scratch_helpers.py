"""What tests of scratch disks need of the machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def _missing() -> str | None:
    if os.geteuid() != 0:
        return "mounting takes root"
    for device in ("/dev/fuse", "/dev/loop-control"):
        if not Path(device).exists():
            return f"there is no {device}"
    if shutil.which("mkfs.ext4", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is None:
        return "there is no mkfs.ext4"
    return None


def needs(missing: str | None) -> None:
    """Fails where everything has to be there, and skips elsewhere, saying why."""
    if missing is None:
        return
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


def needs_mounts() -> None:
    needs(_missing())


def needs_fuse() -> None:
    needs(None if Path("/dev/fuse").exists() else "there is no /dev/fuse")


def mounts_below(directory: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split()[4] for line in lines if line.split()[4].startswith(str(directory))]


def jobs(state: Path) -> list[str]:
    return sorted(path.name for path in (state / "jobs").glob("*.json"))


def records(state: Path) -> list[str]:
    return sorted(path.name for path in (state / "records").glob("*.json"))


def python(code: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """A program in an interpreter of its own."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if check:
        assert done.returncode == 0, done.stderr
    return done
