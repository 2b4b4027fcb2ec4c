"""A Chromium without a window, over two pipes (the DevTools protocol): no driver, nothing beyond the standard library."""

import base64
import fcntl
import json
import os
import selectors
import shutil
import signal
import tempfile
import time


class BrowserError(Exception):
    """The browser did not do what it was asked; the text says what."""


def find():
    """The path of a browser, or None. `BALLAST_TEST_BROWSER` names one."""
    names = [os.environ.get("BALLAST_TEST_BROWSER"), "chromium", "chromium-browser", "google-chrome"]
    return next((path for path in (shutil.which(name) for name in names if name) if path), None)


class Browser:
    """One page of a browser with a profile of its own, which goes with it."""

    def __init__(self, path):
        self.profile = tempfile.mkdtemp(prefix="ballast-browser-")
        command_read, self.write = os.pipe()
        self.read, answer_write = os.pipe()
        # Out of the way of 3 and 4, on which the browser listens and speaks.
        theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (command_read, answer_write)]
        quiet = os.open(os.devnull, os.O_RDWR)
        actions = [(os.POSIX_SPAWN_DUP2, quiet, n) for n in (0, 1, 2)]
        actions += [(os.POSIX_SPAWN_DUP2, theirs[0], 3), (os.POSIX_SPAWN_DUP2, theirs[1], 4)]
        arguments = [
            path, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions",
            "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage", "--disable-sync",
            "--hide-scrollbars", "--force-device-scale-factor=1", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            f"--user-data-dir={self.profile}", "--remote-debugging-pipe", "about:blank",
        ]
        self.pid = os.posix_spawn(path, arguments, os.environ, file_actions=actions, setpgroup=0)
        for end in (command_read, answer_write, quiet, *theirs):
            os.close(end)
        os.set_blocking(self.read, False)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.read, selectors.EVENT_READ)
        self.pending = bytearray()
        self.events = []
        self.answers = {}
        self.number = 0
        self.session = None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def close(self):
        """Ends the browser and takes its profile away."""
        try:
            self.session = None
            self.send("Browser.close", within=5)
        except (BrowserError, OSError):
            pass
        for _ in range(50):
            if os.waitpid(self.pid, os.WNOHANG)[0]:
                break
            time.sleep(0.1)
        else:
            os.killpg(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        for end in (self.read, self.write):
            os.close(end)
        shutil.rmtree(self.profile, ignore_errors=True)

    def _take(self, seconds):
        """Takes in what has come, waiting for it for so long at the most."""
        if not self.selector.select(seconds):
            return
        chunk = os.read(self.read, 1 << 20)
        if not chunk:
            raise BrowserError("the browser has gone")
        self.pending += chunk
        while (end := self.pending.find(0)) >= 0:
            message = json.loads(bytes(self.pending[:end]))
            del self.pending[: end + 1]
            if "id" in message:
                self.answers[message["id"]] = message
            else:
                self.events.append(message)

    def send(self, method, within=30, **parameters):
        """Asks the browser for something; gives its answer."""
        self.number += 1
        number = self.number
        message = {"id": number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        data = memoryview(json.dumps(message).encode() + b"\0")
        while data:
            data = data[os.write(self.write, data):]
        until = time.monotonic() + within
        while number not in self.answers:
            if time.monotonic() > until:
                raise BrowserError(f"no answer to {method} within {within} s")
            self._take(0.2)
        answer = self.answers.pop(number)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error'].get('message')}")
        return answer.get("result", {})

    def rest(self, seconds):
        """Lets the page go on for a time."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._take(min(left, 0.2))

    def run(self, script):
        """The value of an expression in the page."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise BrowserError(f"in the page: {details.get('exception', {}).get('description') or details.get('text')}")
        return answer["result"].get("value")

    def wait(self, script, within=20):
        """Waits until an expression holds; gives its value. A falsy value after `within` seconds is an error."""
        until = time.monotonic() + within
        while True:
            value = self.run(script)
            if value:
                return value
            if time.monotonic() > until:
                raise BrowserError(f"this does not come about within {within} s: {script}")
            self.rest(0.1)

    def open(self, address):
        """Opens a page."""
        answer = self.send("Page.navigate", url=address)
        if answer.get("errorText"):
            raise BrowserError(f"{address} does not open: {answer['errorText']}")
        self.wait("location.href !== 'about:blank' && document.readyState === 'complete'")

    def window(self, width, height, scheme="light", mobile=False):
        """The size of the window and the colours that its owner prefers."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def key(self, name, code=None, text=None):
        """Presses a key."""
        codes = {"Enter": 13, "Escape": 27, "Tab": 9, "ArrowRight": 39, "ArrowLeft": 37, "ArrowDown": 40, "ArrowUp": 38, "Home": 36, "End": 35}
        more = {"text": "\r"} if name == "Enter" else {"text": text} if text else {}
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=name, code=code or name, windowsVirtualKeyCode=codes.get(name, 0), **(more if kind == "keyDown" else {}))

    def picture(self, path, whole=True):
        """A picture of the page, the whole of it or what the window shows."""
        size = self.send("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 8000), "scale": 1}
        more = {"clip": clip, "captureBeyondViewport": True} if whole else {}
        data = self.send("Page.captureScreenshot", format="png", within=60, **more)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))

    def messages(self):
        """What the console has said that is worse than a hint, and what went wrong in scripts: pairs of source and text."""
        found = []
        for event in self.events:
            what = event.get("params", {})
            if event["method"] == "Log.entryAdded" and what["entry"]["level"] in ("error", "warning"):
                found.append((what["entry"]["source"], f"{what['entry']['text']} {what['entry'].get('url', '')}".strip()))
            elif event["method"] == "Runtime.consoleAPICalled" and what["type"] in ("error", "warning", "assert"):
                found.append(("console", " ".join(str(one.get("value", one.get("description", ""))) for one in what["args"])))
            elif event["method"] == "Runtime.exceptionThrown":
                details = what["exceptionDetails"]
                found.append(("exception", details.get("exception", {}).get("description") or details["text"]))
        return found

    def asked(self):
        """The addresses that the page has asked for."""
        return [event["params"]["request"]["url"] for event in self.events if event["method"] == "Network.requestWillBeSent"]

    def forget(self):
        """Begins to collect messages and requests anew."""
        self.events.clear()
