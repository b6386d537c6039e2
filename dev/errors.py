"""The errors of this package. Each text names the remedy. It is shown without a traceback."""


class DevError(Exception):
    """Something failed. The text names the remedy."""


class ServerError(DevError):
    """A database server did not start. The text includes the end of its log."""


class PortTakenError(ServerError):
    """A server could not listen, because another program took its port first."""


class ForeignFileError(DevError):
    """A file belongs to another account."""

    def __init__(self, error: PermissionError) -> None:
        super().__init__(
            f"{error}\nA run with sudo may have made it. "
            "Give all files to your user: sudo chown -R $USER ."
        )


class AlreadyRunningError(DevError):
    """Another command owns this clone."""


class Interrupted(BaseException):
    """The user asked us to stop. As with KeyboardInterrupt, `except Exception` lets it pass."""
