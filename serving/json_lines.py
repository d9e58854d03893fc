"""Log lines of door and server."""

import logging

import orjson


class JsonLines(logging.Formatter):
    """One JSON object a line: what a client writes cannot begin a line of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """The record."""
        line = {"time": record.created, "level": record.levelname, "event": record.getMessage()}
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line).decode()
