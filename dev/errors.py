"""What can go wrong here and has a remedy that a person can read; no other exception."""


class DevError(Exception):
    """Shown as it stands, without a traceback: the text says what to do."""


class ServerError(DevError):
    """A database server that did not start, with the end of its log."""


class PortTakenError(ServerError):
    """The server could not listen: something else took its port first."""


class ForeignFileError(DevError):
    """A file that only another account may touch."""

    def __init__(self, error: PermissionError) -> None:
        super().__init__(f"{error}\nIs it from a run with sudo? Give it back with chown -R.")


class AlreadyRunningError(DevError):
    """Another command holds this clone."""


class Interrupted(BaseException):
    """Somebody asked us to stop. Like KeyboardInterrupt, no `except Exception` holds it up."""
