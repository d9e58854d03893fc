"""A headless Chromium of a test's own, driven by its DevTools protocol: a page as people see it, at any width."""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

from tests.servers import program

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
START_SECONDS, ANSWER_SECONDS, POLL_SECONDS = 30.0, 30.0, 0.02
FLAGS = ("--headless=new", "--no-sandbox", "--remote-debugging-port=0", "--hide-scrollbars", "--disable-gpu",
         "--no-first-run", "--disable-background-networking", "--disable-dev-shm-usage")  # fmt: skip


@dataclass
class Page:
    """One tab, and what it asked for and complained of."""

    connection: ClientConnection
    requested: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    asked: int = 0

    def open(self, url: str, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Go there and wait until it is loaded."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Page.navigate", url=url)
        while self._event()["method"] != "Page.loadEventFired":
            pass

    def value(self, expression: str) -> Any:
        """Of an expression of JavaScript; the browser's own, which no page's policy forbids."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, condition: str) -> None:
        """Until an expression is true; while a page gives way to another, none is."""
        end = time.monotonic() + ANSWER_SECONDS
        while not self.call("Runtime.evaluate", expression=condition, returnByValue=True)["result"].get("value"):
            assert time.monotonic() < end, f"{condition}: never true; {self.value('document.title')!r} is open"
            time.sleep(POLL_SECONDS)

    def press(self, key: str, code: int) -> None:
        """One key."""
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def picture(self, path: Path) -> None:
        """All of the page, as PNG."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self.asked += 1
        self.connection.send(json.dumps({"id": self.asked, "method": method, "params": parameters}))
        while True:
            message = self._message()
            if message.get("id") == self.asked:
                assert "error" not in message, message
                return message["result"]

    def _event(self) -> dict[str, Any]:
        while True:
            message = self._message()
            if "method" in message:
                return message

    def _message(self) -> dict[str, Any]:
        message = json.loads(self.connection.recv(timeout=ANSWER_SECONDS))
        if message.get("method") == "Network.requestWillBeSent":
            self.requested.append(message["params"]["request"]["url"])
        if message.get("method") == "Log.entryAdded":
            self.complaints.append(message["params"]["entry"]["text"])
        return message


@contextmanager
def browser() -> Iterator[Page]:
    """A tab of a fresh browser; skipped where there is none, as for `tests.servers.program`."""
    found = next((path for path in map(shutil.which, NAMES) if path), None) or program(NAMES[0])
    with TemporaryDirectory(prefix="recsys-browser-", ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [found, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            with connect(_tab(Path(profile), process), max_size=None) as connection:
                page = Page(connection)
                for domain in ("Page", "Network", "Log"):
                    page.call(f"{domain}.enable")
                yield page
        finally:
            process.terminate()
            process.wait()


def _tab(profile: Path, process: subprocess.Popen[bytes]) -> str:
    """Address of the first tab, once the browser listens."""
    port, end = profile / "DevToolsActivePort", time.monotonic() + START_SECONDS
    while not (port.exists() and port.read_text().count("\n")):
        assert process.poll() is None, "the browser ended"
        assert time.monotonic() < end, "the browser does not listen"
        time.sleep(POLL_SECONDS)
    tabs = httpx.get(f"http://127.0.0.1:{port.read_text().splitlines()[0]}/json", trust_env=False).json()
    return next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
