"""What the shell says when the world outside fails: one sentence for a person, never a traceback."""


class RatemillError(Exception):
    """Something outside failed or is not as it must be; the message is one sentence that names what and where."""


class UnmendableError(RatemillError):
    """Starting again would fail again: a person has to decide."""
