"""Types of single values in the schema: strict, because `seed=true` or `epochs="3"` is a slip and not a number."""

from typing import Annotated

from pydantic import ConfigDict, Field, Strict

FORBID_UNKNOWN = ConfigDict(extra="forbid")
"""Of every section."""

Bool = Annotated[bool, Strict()]
Count = Annotated[int, Strict(), Field(ge=1)]
Seed = Annotated[int, Strict(), Field(ge=0, le=2**31 - 1)]
NonNegative = Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Strict(), Field(ge=0, le=1)]
Part = Annotated[float, Strict(), Field(gt=0, lt=1)]
DropRate = Annotated[float, Strict(), Field(ge=0, lt=1)]
Finite = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^\w[\w.-]*$", description="a name of letters, digits, dots, dashes, underscores")]
