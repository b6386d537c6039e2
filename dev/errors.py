"""The errors of this package. Each text says what to do, and is shown without a traceback."""


class DevError(Exception):
    """Something failed, and the text has the remedy."""


class ServerError(DevError):
    """A database server did not start. The text has the end of its log."""


class PortTakenError(ServerError):
    """A server could not listen, because another program took its port first."""


class ForeignFileError(DevError):
    """A file belongs to another account."""

    def __init__(self, error: PermissionError) -> None:
        super().__init__(f"{error}\nIs it from a run with sudo? Give it back with chown -R.")


class AlreadyRunningError(DevError):
    """Another command owns this clone."""


class Interrupted(BaseException):
    """Somebody asked us to stop. Like KeyboardInterrupt, no `except Exception` catches it."""
