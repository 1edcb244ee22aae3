# SPDX-License-Identifier: Apache-2.0
"""What a unit's folder says of earlier attempts: that it failed and why, which workers died of it.

Beside the result itself, which says by itself that it is whole, and the lease of who is making it.
"""

from __future__ import annotations

from pathlib import Path

from simulator import strict_json
from simulator.errors import InputError
from simulator.files import write_text
from simulator.reading import read_text

LEASE_NAME = "lease.json"
FAILED_NAME = "failed.json"
DEATHS_NAME = "deaths.json"
LOG_NAME = "log.txt"
SECONDS_NAME = "seconds.json"
MOST_DEATHS = 3
RETRY = " (failed before; --retry-failed tries again)"  # behind the reason


def failure(folder: Path) -> str | None:
    """Return why an earlier attempt failed for good; None where none did."""
    found = _read(folder / FAILED_NAME)
    return str(found["reason"]) if isinstance(found, dict) and "reason" in found else None


def deaths(folder: Path) -> list[str]:
    """Return why workers died that were at this unit, the latest last."""
    found = _read(folder / DEATHS_NAME)
    return [str(cause) for cause in found] if isinstance(found, list) else []


def note_failure(folder: Path, reason: str) -> None:
    """Write down that an attempt failed, so that the next command does not try again unasked.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    write_text(folder / FAILED_NAME, strict_json.dumps({"reason": reason}) + "\n")


def note_death(folder: Path, cause: str) -> list[str]:
    """Write down that a worker died in the middle; return why all that did.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    found = [*deaths(folder), cause]
    write_text(folder / DEATHS_NAME, strict_json.dumps(found) + "\n")
    return found


def note_seconds(folder: Path, seconds: float) -> None:
    """Write down how long the result took to make: a time, so beside the result and not in it.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    write_text(folder / SECONDS_NAME, strict_json.dumps({"seconds": round(seconds, 3)}) + "\n")


def seconds_taken(folder: Path) -> float | None:
    """Return how long the result took to make; None where that is not known."""
    found = _read(folder / SECONDS_NAME)
    seconds = found.get("seconds") if isinstance(found, dict) else None
    return float(seconds) if isinstance(seconds, int | float) else None


def forget_attempts(folder: Path) -> None:
    """Remove what is known of earlier attempts: the next one is the first."""
    for name in (FAILED_NAME, DEATHS_NAME):
        (folder / name).unlink(missing_ok=True)


def _read(path: Path) -> object:
    """Return the content of a file; None where there is none, or it was damaged."""
    try:
        return strict_json.loads(read_text(path)) if path.exists() else None
    except (InputError, OSError, ValueError):
        return None
