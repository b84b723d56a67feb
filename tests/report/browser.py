"""A headless Chromium by WebDriver (Debian's chromium and chromium-driver), without any library."""
import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

DRIVERS = ("chromedriver", "/usr/lib/chromium/chromedriver")


def find():
    """The programs, or None."""
    driver = next((shutil.which(name) for name in DRIVERS if shutil.which(name)), None)
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    return (driver, browser) if driver and browser else None


class Browser:
    def __init__(self):
        driver, browser = find()
        self.home = tempfile.mkdtemp(prefix="report-browser-")
        self.process = subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                        text=True, env={**os.environ, "HOME": self.home, "TMPDIR": self.home})
        port = None
        while port is None:
            line = self.process.stdout.readline()
            if not line:
                sys.exit(f"{driver} does not start")
            port = re.search(r"successfully on port (\d+)", line)
        self.url = f"http://127.0.0.1:{port[1]}/session"
        options = {"binary": browser, "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                                               "--hide-scrollbars", f"--user-data-dir={self.home}/profile"]}
        wanted = {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}}
        self.url += "/" + self.call("", {"capabilities": wanted})["sessionId"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.call("", method="DELETE")
        finally:
            self.process.terminate()
            self.process.wait()
            shutil.rmtree(self.home, ignore_errors=True)

    def call(self, path, body=None, method="POST"):
        request = urllib.request.Request(self.url + path, method=method, data=json.dumps(body or {}).encode(),
                                         headers={"Content-Type": "application/json"})
        try:
            return json.load(urllib.request.urlopen(request, timeout=120))["value"]
        except urllib.error.HTTPError as error:
            sys.exit(f"{path}: {error.read().decode()[:500]}")

    def open(self, path):
        self.call("/url", {"url": path if ":" in path else "file://" + os.path.abspath(path)})

    def run(self, script, *arguments):
        return self.call("/execute/sync", {"script": script, "args": list(arguments)})

    def press(self, key):
        """Sends keys to the focused element."""
        self.call("/actions", {"actions": [{"type": "key", "id": "keys", "actions": [
            {"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]}]})

    def command(self, name, **parameters):
        """Sends a command of the protocol of Chromium's developer tools."""
        return self.call("/goog/cdp/execute", {"cmd": name, "params": parameters})

    def look(self, width, dark=False, media=""):
        """Shows the page in a window of this width, light or dark, on a screen or on paper."""
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.command("Emulation.setEmulatedMedia", media=media, features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.call("/execute/async", {"script": "requestAnimationFrame(() => requestAnimationFrame(arguments[0]))", "args": []})

    def save_picture(self, path):
        """A picture of the whole page."""
        shot = self.command("Page.captureScreenshot", captureBeyondViewport=True)
        with open(path, "wb") as file:
            file.write(base64.b64decode(shot["data"]))

    def log(self, kind):
        return self.call("/se/log", {"type": kind})
