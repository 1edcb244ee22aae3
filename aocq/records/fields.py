# SPDX-License-Identifier: Apache-2.0
"""The base of every record, the ranges of its figures, and how a mistake in one is told."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

MOST = 2**63 - 1  # of what is counted

# What figures can be: a record out of these ranges is of no run.
Count = Annotated[int, Field(ge=0, le=MOST)]
Bits = Annotated[int, Field(ge=0, le=1024)]
Headroom = Annotated[int, Field(ge=-1024, le=1024)]
Percent = Annotated[float, Field(ge=0, le=100)]
Decibel = Annotated[float, Field(ge=-1e4, le=1e4)]
Real = Annotated[float, Field(ge=-1e38, le=1e38)]  # a value of a tensor
Amount = Annotated[float, Field(ge=0, le=1e15)]  # seconds, milliseconds, rates
Name = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,1000}$")]


class Record(BaseModel):
    """A frozen table of fields that refuses unknown ones, infinities and NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def first_mistake(error: ValidationError) -> str:
    """Return the first mistake of a record, with its place."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
