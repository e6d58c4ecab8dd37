"""Errors as users see them: one line each."""


class UserError(ValueError):
    """The base class of every error caused by a user's input, files or devices.

    The message is one line: what is wrong, the value, and what to do. The command line prints it and exits with code 2.
    """


def first_line(error: BaseException) -> str:
    """The first line of an error's message, at most 200 characters; its type's name if there is no message."""
    return (str(error).splitlines() or [""])[0][:200] or type(error).__name__
