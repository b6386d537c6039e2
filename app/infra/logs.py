"""Logs: one format for our own loggers (structlog) and those of libraries (`logging`)."""

import io
import logging
import logging.config
import os
import sys
import time
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any, TextIO

import orjson
import structlog
from structlog.typing import ExcInfo, Processor

from app.printable import printable

if TYPE_CHECKING:
    # gunicorn's supervisor imports this module, and does without pydantic.
    from app.config import Settings

# A request's line has about 300 bytes. Without a bound, a few hundred requests with long paths
# would rotate everything else out of the log.
LONGEST_FIELD = 1000  # bytes
LONGEST_EVENT = 10_000  # characters; a library's event may be a whole traceback
SELDOM = 60.0  # seconds


def configure_logging(settings: "Settings") -> None:
    """Write all logs, those of libraries included, to stdout in one format.

    Our own loggers do not use `logging`, which would triple the cost of a request's log line.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal may lack characters of a log line. By default, that would fail the request.
        sys.stdout.reconfigure(errors="backslashreplace")
    factory: Any = (
        structlog.BytesLoggerFactory(sys.stdout.buffer)
        if settings.json_logs
        else structlog.WriteLoggerFactory(sys.stdout)
    )
    structlog.configure(
        processors=[
            *_processors(json=settings.json_logs),
            make_printable,
            _renderer(orjson.dumps, json=settings.json_logs),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_level(settings.log_level)),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    logging.config.dictConfig(logging_config(settings.log_level, json=settings.json_logs))


def logging_config(level_name: str, *, json: bool) -> dict[str, Any]:
    """The configuration of `logging`: libraries and servers log in the same format as we do."""
    level = _level(level_name)
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": [*_processors(json=json), structlog.stdlib.add_logger_name],
        "processors": [
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            make_printable,
            _renderer(_dumps_text, json=json),
        ],
    }
    stdout = {
        "class": "logging.StreamHandler",
        "stream": "ext://sys.stdout",
        "formatter": "structured",
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"structured": formatter},
        "filters": {"seldom": {"()": Seldom}},
        "handlers": {"stdout": stdout, "seldom": {**stdout, "filters": ["seldom"]}},
        "root": {"handlers": ["stdout"], "level": level},
        "loggers": {
            "uvicorn": {"handlers": [], "level": level, "propagate": True},
            # A handler of its own, because UvicornWorker copies it to uvicorn.
            "gunicorn.error": {"handlers": ["stdout"], "level": level, "propagate": False},
            # `infra.http.middleware` logs each request with its id.
            "uvicorn.access": {"handlers": [], "level": logging.WARNING, "propagate": False},
            # SQLAlchemy's pool logs under the name of its class.
            "app.infra.pool.FairPool": {"level": logging.WARNING},
            # An exporter of traces logs each failure, and the collector may be away for long.
            "opentelemetry": {"handlers": ["seldom"], "level": logging.WARNING, "propagate": False},
            # Its queue would log each span that it drops while the collector is away.
            "opentelemetry.sdk._shared_internal": {"level": logging.ERROR},
            # SAQ logs a line for each job and each second of cron.
            "saq": {"level": logging.WARNING if level >= logging.INFO else level},
        },
    }


class Seldom(logging.Filter):
    """Passes each message once a minute, whatever its arguments are, without a stack trace."""

    def __init__(self) -> None:
        super().__init__()
        self._next: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now < self._next.get(str(record.msg), now):
            return False
        self._next[str(record.msg)] = now + SELDOM
        record.exc_info = None
        return True


def _level(name: str) -> int:
    # `Settings` refuses an unknown name. gunicorn's supervisor logs before that.
    return logging.getLevelNamesMapping().get(name.upper(), logging.INFO)


def _processors(*, json: bool) -> list[Processor]:
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if json:
        # Without local variables: they hold secrets, such as the Authorization header.
        tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        processors.append(structlog.processors.ExceptionRenderer(tracebacks))
    return processors


def make_printable(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Escape control characters in each field, and bound its length."""
    for name, value in event.items():
        if name == "event":
            event[name] = _printable_lines(str(value)[:LONGEST_EVENT])
        elif name != "exc_info":  # `_write_traceback` renders it
            event[name] = _printable(value)
    return event


def _printable(value: Any) -> Any:
    match value:
        case str():
            return printable(value, most=LONGEST_FIELD)
        case None | bool() | int() | float():
            return value
        case dict():
            return {str(_printable(key)): _printable(one) for key, one in value.items()}
        case list() | tuple():
            return [_printable(one) for one in value]
    return printable(str(value), most=LONGEST_FIELD)


def _printable_lines(text: str) -> str:
    return "\n".join(printable(line, most=LONGEST_FIELD) for line in text.split("\n"))


def _write_traceback(sio: TextIO, exc_info: ExcInfo) -> None:
    # Not rich's, which structlog prefers: it shows local variables.
    plain = io.StringIO()
    structlog.dev.plain_traceback(plain, exc_info)
    sio.write(_printable_lines(plain.getvalue()))


def _renderer(serializer: Callable[..., str | bytes], *, json: bool) -> Processor:
    if json:
        return structlog.processors.JSONRenderer(serializer=serializer)
    colours = sys.stdout.isatty() or "FORCE_COLOR" in os.environ
    return structlog.dev.ConsoleRenderer(
        pad_event_to=24,
        colors=colours and "NO_COLOR" not in os.environ,
        exception_formatter=_write_traceback,
    )


def _dumps_text(event: Any, default: Callable[[Any], Any]) -> str:
    return orjson.dumps(event, default).decode()
