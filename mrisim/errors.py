"""The errors that a user can cause, and the exit code that each one becomes.

Exception
    MrisimError
        UsageError    exit 2   an option on the command line that cannot be meant
        ConfigError   exit 3   a parameter, level or option with an impossible value
        DataError     exit 4   input that is missing, broken or of another type; no room for the output or in memory

Anything else that escapes is a mistake of ours (exit 1).
"""


class MrisimError(Exception):
    """An error with one clear line: what was expected, what was found, where."""

    exit_code = 1


class UsageError(MrisimError):
    """An option on the command line is malformed or names something that does not exist."""

    exit_code = 2


class ConfigError(MrisimError):
    """A parameter, level or option has a value that cannot be used."""

    exit_code = 3


class DataError(MrisimError):
    """Input data are missing, broken, or of a type that is not supported."""

    exit_code = 4
