"""Errors that a person can act on: the commands show their one sentence and exit, without a traceback."""


class UserError(Exception):
    """A mistake in the input (config, data, files, disk). The message is one sentence: what, where, what is allowed."""


class ConfigError(UserError):
    """A config that cannot work: names the key, what was given and what is allowed."""


class DataError(UserError):
    """Data that is missing, unreadable or inconsistent: names the folder or file."""


class WeightsError(UserError):
    """A weights file that is missing, unsafe or does not fit the network."""


class Busy(UserError):  # noqa: N818 - it is no error of anybody
    """A run that another process is training now."""
