#!/usr/bin/env python3
"""browser.py: what a real browser makes of a page on disk.

  browser.py CHROMIUM PAGE [--picture FILE] [--dark] [--width N] [--scroll ID]

Prints one JSON object: errors (of the console, of the page's own policy, of parsing), requests (URLs but the page itself
and data: URIs), sections (the ids of <section> with their widths and heights on the screen), pictures (how many images
were decoded, how many were not), and the page's width against the window's. Speaks Chromium's DevTools protocol over
two pipes; nothing but Python is needed.
"""
import argparse
import base64
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time


class Browser:
    def __init__(self, program, folder):
        to_read, self.to = os.pipe()
        self.source, to_write = os.pipe()
        for end in (to_read, to_write):
            os.set_inheritable(end, True)
        # Chromium reads commands from descriptor 3 and answers on descriptor 4.
        shell = f"exec 3<&{to_read} 4>&{to_write} \"$@\""
        self.process = subprocess.Popen(
            ["bash", "-c", shell, "bash", program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
             "--force-color-profile=srgb", f"--user-data-dir={folder}", "--remote-debugging-pipe", "about:blank"],
            pass_fds=(to_read, to_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_read)
        os.close(to_write)
        self.pending, self.count, self.events = b"", 0, []

    def message(self):
        while b"\0" not in self.pending:
            piece = os.read(self.source, 1 << 16)
            if not piece:
                sys.exit("the browser has gone away")
            self.pending += piece
        one, self.pending = self.pending.split(b"\0", 1)
        return json.loads(one)

    def call(self, method, session=None, **parameters):
        self.count += 1
        command = {"id": self.count, "method": method, "params": parameters}
        if session:
            command["sessionId"] = session
        os.write(self.to, json.dumps(command).encode() + b"\0")
        while True:
            answer = self.message()
            if answer.get("id") == self.count:
                if "error" in answer:
                    sys.exit(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def wait_for(self, event):
        while not any(e.get("method") == event for e in self.events):
            self.events.append(self.message())

    def close(self):
        os.close(self.to)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


LOOK = """JSON.stringify({
  sections: Object.fromEntries([...document.querySelectorAll('section')].map(s => {
    const r = s.getBoundingClientRect(); return [s.id, [r.width, r.height]]; })),
  drawings: [...document.querySelectorAll('svg')].map(s => { const r = s.getBoundingClientRect(); return [r.width, r.height]; }),
  decoded: [...document.images].filter(i => i.complete && i.naturalWidth > 0).length,
  broken: [...document.images].filter(i => !(i.complete && i.naturalWidth > 0)).length,
  scripts: document.scripts.length,
  title: document.title,
  text: document.body.innerText,
  overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  height: document.documentElement.scrollHeight
})"""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("chromium")
    parser.add_argument("page", type=pathlib.Path)
    parser.add_argument("--picture")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--section")
    o = parser.parse_args()
    folder = tempfile.mkdtemp()
    browser = Browser(o.chromium, folder)
    try:
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Audits"):
            browser.call(f"{domain}.enable", session)
        browser.call("Emulation.setDeviceMetricsOverride", session, width=o.width, height=900, deviceScaleFactor=1,
                     mobile=False)
        browser.call("Emulation.setEmulatedMedia", session,
                     features=[{"name": "prefers-color-scheme", "value": "dark" if o.dark else "light"}])
        browser.events.clear()
        url = o.page.resolve().as_uri()
        browser.call("Page.navigate", session, url=url)
        browser.wait_for("Page.loadEventFired")
        seen = json.loads(browser.call("Runtime.evaluate", session, expression=LOOK)["result"]["value"])
        if o.picture:
            clip = None
            if o.section:
                box = json.loads(browser.call(
                    "Runtime.evaluate", session,
                    expression=f"JSON.stringify(document.getElementById('{o.section}').getBoundingClientRect())"
                )["result"]["value"])
                clip = {"x": 0, "y": box["y"], "width": o.width, "height": box["height"], "scale": 1}
            picture = browser.call("Page.captureScreenshot", session, captureBeyondViewport=True,
                                   clip=clip or {"x": 0, "y": 0, "width": o.width, "height": seen["height"], "scale": 1})
            pathlib.Path(o.picture).write_bytes(base64.b64decode(picture["data"]))
        time.sleep(0.2)
        browser.call("Runtime.evaluate", session, expression="0")  # what else it had to say has come by now
    finally:
        browser.close()
        shutil.rmtree(folder, ignore_errors=True)

    errors, requests = [], []
    for event in browser.events:
        method, words = event.get("method"), event.get("params", {})
        if method == "Runtime.consoleAPICalled":
            errors.append(json.dumps(words["args"]))
        if method == "Runtime.exceptionThrown":
            errors.append(json.dumps(words["exceptionDetails"]))
        if method == "Log.entryAdded":
            errors.append(words["entry"]["text"])
        if method == "Audits.issueAdded":
            errors.append(words["issue"]["code"])
        if method == "Network.requestWillBeSent":
            address = words["request"]["url"]
            if address != url and not address.startswith("data:"):
                requests.append(address)
    print(json.dumps({**seen, "errors": errors, "requests": requests}))


if __name__ == "__main__":
    main()
