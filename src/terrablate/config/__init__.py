"""What a person composes: the typed schema, the checks across groups, the identity of a run. Imports no torch."""

from terrablate.config.parse import parse, plain
from terrablate.config.schema import Config

__all__ = ["Config", "parse", "plain"]
