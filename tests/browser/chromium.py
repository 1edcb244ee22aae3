# SPDX-License-Identifier: Apache-2.0
"""Headless Chromium over its debugging pipe: what a page does, without any package for it.

The protocol is Chrome's own (https://chromedevtools.github.io/devtools-protocol/): messages of
JSON that end with a zero byte, on the file descriptors 3 (to the browser) and 4 (from it).
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATIENCE = 60.0  # seconds that an answer may take on a busy machine
NAMES = ("chromium", "chromium-browser", "google-chrome")
# A sandbox needs rights that containers lack; every page here is our own.
OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *(
        "--hide-scrollbars",
        "--no-first-run",
        "--remote-debugging-pipe",
        "--force-color-profile=srgb",
    ),
)

# Becomes the browser, with its two ends of the pipes as descriptors 3 and 4.
_AS_THREE_AND_FOUR = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for end, number in zip(ends, (3, 4)):
    os.dup2(end, number)
os.execv(sys.argv[3], sys.argv[3:])
"""


def program() -> str | None:
    """Return the browser's path, or None where it is not installed."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@dataclass(slots=True)
class Browser:
    """A running browser with one page.

    complaints : what scripts and the page's rules reported since the page was opened
    requests : addresses that were asked for since then
    """

    _to: int
    _from: int
    _session: str = ""
    _number: int = 0
    _unread: bytes = b""
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    _seen: list[str] = field(default_factory=list)

    def call(self, method: str, **parameters: Any) -> Any:
        """Ask the page for something; return the answer.

        Raises
        ------
        RuntimeError
            If the browser refuses.
        """
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def attach(self) -> None:
        """Open the one page and listen to it."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def open(self, page: Path, width: int, height: int = 900, *, dark: bool = False) -> None:
        """Show a file in a window of a width, in CSS pixels; a phone's window scales nothing."""
        self.complaints.clear()
        self.requests.clear()
        self._seen.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media="", features=[scheme])
        self.call("Page.navigate", url=page.absolute().as_uri())
        end = time.monotonic() + PATIENCE
        while "Page.loadEventFired" not in self._seen:
            assert time.monotonic() < end, f"{page} is not loaded after {PATIENCE:g} s"
            self._next()

    def ask(self, expression: str) -> Any:
        """Return what a JavaScript expression gives in the page, as JSON."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def screenshot(self, *, whole: bool = False) -> bytes:
        """Return the window, or the whole page, as PNG."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(answer["data"])

    def printed(self) -> bytes:
        """Return the page as it prints on A4, as PDF."""
        answer = self.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69)
        return base64.b64decode(answer["data"])

    def _next(self) -> dict[str, Any]:
        """Return the next message, events noted."""
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._from], [], [], PATIENCE)
            assert ready, f"Chromium says nothing for {PATIENCE:g} s"
            more = os.read(self._from, 1 << 20)
            assert more, "Chromium has ended"
            self._unread += more
        text, _, self._unread = self._unread.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        event, found = message.get("method", ""), message.get("params", {})
        self._seen.append(event)
        if event == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(found["exceptionDetails"]))
        elif event == "Log.entryAdded":
            self.complaints.append(found["entry"]["text"])
        elif event == "Runtime.consoleAPICalled":
            self.complaints.append(json.dumps(found["args"]))
        elif event == "Network.requestWillBeSent":
            self.requests.append(found["request"]["url"])
        return message


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Start Chromium with its profile in ``folder``; end it afterwards."""
    command = program()
    assert command, "Chromium is not installed"
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()

    process = subprocess.Popen(
        [
            *(sys.executable, "-c", _AS_THREE_AND_FOUR, str(to_read), str(from_write)),
            *(command, *OPTIONS, f"--user-data-dir={folder}"),
        ],
        pass_fds=(to_read, from_write),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_read)
    os.close(from_write)
    try:
        found = Browser(to_write, from_read)
        found.attach()
        yield found
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(to_write)
        os.close(from_read)
