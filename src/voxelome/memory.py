"""Memory that this process can still take."""

from __future__ import annotations

from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def memory_free() -> int:
    """Bytes that this process can still take: of the machine, or of its control group where that is less."""
    free = _machine_free()
    for line in _lines(Path("/proc/self/cgroup")):
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            free = min(free, _group_free(_CGROUPS, group, "memory.max", "memory.current"))
        elif "memory" in controllers.split(","):
            names = "memory.limit_in_bytes", "memory.usage_in_bytes"
            free = min(free, _group_free(_CGROUPS / "memory", group, *names))
    return free


def _machine_free() -> int:
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            return 1024 * int(line.split()[1])
    # No Linux: nothing is known, and nothing refused.
    return 2**63


def _group_free(root: Path, group: str, limit_file: str, usage_file: str) -> int:
    """Least that a control group and those above it leave; file cache counts as free."""
    folder = root / group.lstrip("/")
    free = 2**63
    for level in (folder, *folder.parents):
        if not level.is_relative_to(root):
            break
        limit, usage = _lines(level / limit_file), _lines(level / usage_file)
        if limit and usage and limit[0] != "max":
            stat = dict(line.split() for line in _lines(level / "memory.stat"))
            cache = int(stat.get("total_inactive_file", stat.get("inactive_file", 0)))
            free = min(free, max(0, int(limit[0]) - int(usage[0]) + cache))
    return free


def _lines(path: Path) -> list[str]:
    """Lines of a file of the kernel; none where there is no such file."""
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
