"""CPU time of processes that run beside the measuring one, from /proc: a flow with all its processes, the broker."""

import os
from collections import defaultdict
from pathlib import Path

_PROCESSES = Path("/proc")
_PARENT, _USER, _SYSTEM = 1, 11, 12


def can_measure() -> bool:
    """Whether this system tells the CPU time of other processes where this module reads it."""
    return (_PROCESSES / "self/stat").exists()


def cpu_seconds(process: int) -> float:
    """Seconds that a process and all that live below it have spent so far."""
    children: dict[int, list[int]] = defaultdict(list)
    spent: dict[int, int] = {}
    for folder in _PROCESSES.iterdir():
        if folder.name.isdigit() and (fields := _fields(folder / "stat")):
            children[int(fields[_PARENT])].append(int(folder.name))
            spent[int(folder.name)] = int(fields[_USER]) + int(fields[_SYSTEM])
    family, found = [process], 0
    while family:
        member = family.pop()
        found += spent.get(member, 0)
        family += children[member]
    return found / os.sysconf("SC_CLK_TCK")


def _fields(stat: Path) -> list[str]:
    """What stands behind the name of the program; nothing if the process has just ended."""
    try:
        return stat.read_text().rpartition(")")[2].split()
    except OSError:
        return []
