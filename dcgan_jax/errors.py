"""What other libraries raise, in one line."""


def first_line(error: Exception) -> str:
    """The first line of an error's message, at most 200 characters; its type's name if it has none."""
    return (str(error).splitlines() or [""])[0][:200] or type(error).__name__
