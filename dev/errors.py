"""What can go wrong here and has a remedy that a person can read; no other exception."""


class DevError(Exception):
    """Shown as it stands, without a traceback: the text says what to do."""


class ServerError(DevError):
    """A database server that did not start, with the end of its log."""


class PortTakenError(ServerError):
    """The server could not listen: something else took its port first."""


class AlreadyRunningError(DevError):
    """Another command holds this clone."""


class Interrupted(BaseException):  # noqa: N818 - an order from the user, not an error
    """Somebody asked us to stop. Like KeyboardInterrupt, no `except Exception` holds it up."""
