# SPDX-License-Identifier: Apache-2.0
"""Errors with exit codes; each message names the thing, the place and the way out."""

from __future__ import annotations

from simulator.control_characters import escaped


class AocqError(Exception):
    """An error that is no bug of this project, with the exit code of the command line.

    Its text is safe to print: names in it may come from anybody's file.
    """

    exit_code = 3

    def __str__(self) -> str:
        return escaped(super().__str__())


class InputError(AocqError):
    """A profile, graph, checkpoint, image or option value that cannot be used (exit code 3)."""

    exit_code = 3


class EnvironmentProblem(AocqError):
    """The machine lacks something: a package, a writable folder, the network (exit code 4)."""

    exit_code = 4


class AccumulatorOverflow(AocqError):
    """A sum overflowed where a profile's policy does not tolerate it (exit code 1, as a gate)."""

    exit_code = 1
