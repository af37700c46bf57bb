#!/usr/bin/env python3
"""visitor.py: a visitor of the page in a real browser: gives it pictures, tunes, tries, keeps, and is sometimes clumsy.

  visitor.py CHROMIUM PAGE PICTURES OUT [--picture FILE]

PAGE is a file or an address. PICTURES has what pictures.py writes. The network is off once the page is there. Writes the task files
that the page gives to OUT/first and OUT/second, and prints one JSON object: what was seen.
"""
import argparse
import base64
import json
import pathlib
import shutil
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "report"))
from browser import Browser  # noqa: E402

NAMES = ["disc", "box", "wedge"]


class Visitor:
    def __init__(self, browser, out):
        self.browser, self.out = browser, out
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Audits", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    def ask(self, expression):
        answer = self.call("Runtime.evaluate", expression=f"JSON.stringify({expression})", awaitPromise=True)
        if "exceptionDetails" in answer:
            sys.exit(f"{expression}: {answer['exceptionDetails']['exception']['description']}")
        value = answer["result"].get("value")
        return None if value is None else json.loads(value)

    def do(self, statement):
        self.ask(f"(() => {{ {statement}; return null; }})()")

    def click(self, identity):
        if self.ask(f"document.getElementById('{identity}').disabled"):
            sys.exit(f"#{identity} may not be pressed: {self.said()} {self.problem()}")
        self.do(f"document.getElementById('{identity}').click()")

    def said(self):
        return self.ask("document.getElementById('state').textContent")

    def problem(self):
        return self.ask("document.getElementById('problem').textContent")

    def wait(self, condition, seconds=120):
        """Until the expression holds; returns what was seen of tuning on the way."""
        seen, end = [], time.time() + seconds
        while not self.ask(condition):
            words = self.ask("document.getElementById('numbers').textContent")
            if words not in seen[-1:]:
                seen.append(words)
            if time.time() > end:
                sys.exit(f"waited in vain for {condition}: {self.said()} {words} {self.problem()}")
            time.sleep(0.02)
        return seen

    def wait_said(self, words, seconds=120):
        return self.wait(f"document.getElementById('state').textContent.startsWith({json.dumps(words)})", seconds)

    def choose(self, selector, files):
        """Files in a file input, as its dialog gives them."""
        node = self.call("Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)})")["result"]["objectId"]
        self.call("DOM.setFileInputFiles", objectId=node, files=[str(f) for f in files])

    def drop(self, selector, files):
        """Files that are dragged from a folder and dropped."""
        self.do(f"document.querySelector({json.dumps(selector)}).scrollIntoView()")
        box = self.ask(f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()")
        where = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        data = {"items": [], "files": [str(f) for f in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, data=data, **where)

    def tried(self, picture):
        self.do("document.getElementById('tried').hidden = true")
        self.choose("#try-file", [picture])
        self.wait("!document.getElementById('tried').hidden")
        return self.ask("Object.fromEntries([...document.querySelectorAll('#probabilities li')]"
                        ".map((li) => [li.firstChild.textContent, Number(li.dataset.share)]))")

    def keep(self, name):
        folder = self.out / name
        folder.mkdir()
        self.browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        self.click("download")
        file = folder / "task.safetensors"
        end = time.time() + 30
        while not file.exists():
            if time.time() > end:
                sys.exit("the task file did not come")
            time.sleep(0.05)
        return file

    def losses(self):
        return self.ask("losses")

    def refused(self, words):
        """What the page said was wrong, after it has said so."""
        self.wait(f"document.getElementById('problem').textContent.includes({json.dumps(words)})", 30)
        return self.problem()


def name_class(visitor, i, name):
    visitor.do(f"const e = document.querySelectorAll('.name')[{i}]; e.value = {json.dumps(name)};"
               "e.dispatchEvent(new Event('input'))")


def visit(visitor, page, pictures, seen, shot):
    address = page if "://" in page else pathlib.Path(page).resolve().as_uri()
    begin = time.time()
    visitor.call("Page.navigate", url=address)
    visitor.browser.wait_for("Page.loadEventFired")
    visitor.call("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)
    visitor.wait_said("Ready")
    seen["ready"], seen["ready_seconds"] = visitor.said(), time.time() - begin

    # Too early, and wrong.
    visitor.choose("#try-file", [pictures / "new" / "disc.png"])
    seen["too_early"] = visitor.refused("Nothing was learned yet")
    seen["not_ready"] = visitor.ask("document.getElementById('start').disabled")

    # Three classes: one of them by the dialog, two by dropping.
    visitor.click("add-class")
    for i, name in enumerate(NAMES):
        files = sorted((pictures / name).glob("*.png"))
        name_class(visitor, i, "disc" if i == 1 else name)
        if i == 0:
            visitor.choose(".class .files", files)
        else:
            visitor.drop(f".class:nth-child({i + 1})", files)
        visitor.wait(f"document.querySelectorAll('.class')[{i}].querySelectorAll('img').length === {len(files)}", 20)
    visitor.click("start")
    seen["same_names"] = visitor.refused("both 'disc'")
    name_class(visitor, 1, "box")
    broken = visitor.out / "broken.png"
    broken.write_bytes(b"\x89PNG no picture")
    visitor.choose(".class .files", [broken])
    seen["refused"] = visitor.refused("broken.png")
    seen["counts"] = visitor.ask("[...document.querySelectorAll('.count')].map((e) => e.textContent)")

    # Tuning.
    visitor.do("document.getElementById('epochs').value = 8")
    begin = time.time()
    visitor.click("start")
    seen["progress"] = visitor.wait_said("Learned in", 400)
    seen["seconds"] = time.time() - begin
    seen["learned"] = visitor.said()
    seen["losses"] = visitor.losses()
    seen["accuracies"] = visitor.ask("accuracies.map(({share}) => share)")
    seen["chart"] = visitor.ask("document.getElementById('chart').getAttribute('aria-label')")
    seen["lines"] = visitor.ask("document.querySelectorAll('#chart polyline').length")
    seen["tried"] = {name: visitor.tried(pictures / "new" / f"{name}.png") for name in NAMES}
    if shot:
        height = visitor.ask("document.documentElement.scrollHeight")
        picture = visitor.call("Page.captureScreenshot", captureBeyondViewport=True,
                               clip={"x": 0, "y": 0, "width": 1000, "height": height, "scale": 1})
        pathlib.Path(shot).write_bytes(base64.b64decode(picture["data"]))
    task = visitor.keep("first")

    # The file comes back, and no other does.
    garbage = visitor.out / "garbage.safetensors"
    garbage.write_bytes(task.read_bytes()[:-100])
    visitor.choose("#task-file", [garbage])
    seen["garbage"] = visitor.refused("is no task")
    visitor.do("document.querySelectorAll('.remove-class')[2].click()")
    visitor.choose("#task-file", [task])
    visitor.wait_said("task.safetensors: a task of 3 classes")
    seen["names_again"] = visitor.ask("[...document.querySelectorAll('.name')].map((e) => e.value)")
    seen["tried_again"] = visitor.tried(pictures / "new" / "wedge.png")
    visitor.drop(".class:nth-child(3)", sorted((pictures / "wedge").glob("*.png")))
    visitor.wait("!document.getElementById('go-on').disabled", 20)

    # Going on, and stopping on the way.
    visitor.do("document.getElementById('epochs').value = 900")
    visitor.click("go-on")
    visitor.wait("losses.length >= 3 && !document.getElementById('stop').disabled")
    visitor.click("stop")
    visitor.wait_said("Learned in", 30)
    seen["stopped"] = visitor.said()
    seen["losses_on"] = visitor.losses()
    seen["tried_on"] = visitor.tried(pictures / "new" / "box.png")
    visitor.keep("second")
    visitor.do("document.getElementById('rate').value = 7")
    visitor.click("start")
    seen["bad_number"] = visitor.refused("Learning rate")

    # On a telephone.
    visitor.call("Emulation.setDeviceMetricsOverride", width=400, height=900, deviceScaleFactor=1, mobile=False)
    seen["overflow"] = visitor.ask("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    seen["unnamed"] = visitor.ask(
        "[...document.querySelectorAll('button, input')].filter((e) => !(e.textContent.trim() || e.getAttribute('aria-label')"
        " || e.labels?.[0]?.textContent.trim())).map((e) => e.outerHTML)")
    return address


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("chromium")
    parser.add_argument("page")
    parser.add_argument("pictures", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--picture")
    o = parser.parse_args()
    o.out.mkdir(exist_ok=True)
    folder = tempfile.mkdtemp()
    browser = Browser(o.chromium, folder)
    seen = {}
    try:
        visitor = Visitor(browser, o.out.resolve())
        address = visit(visitor, o.page, o.pictures.resolve(), seen, o.picture)
    finally:
        browser.close()
        shutil.rmtree(folder, ignore_errors=True)
    seen["errors"], seen["requests"] = [], []
    for event in browser.events:
        method, words = event.get("method"), event.get("params", {})
        if method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Audits.issueAdded"):
            seen["errors"].append(json.dumps(words))
        if method == "Log.entryAdded":
            seen["errors"].append(words["entry"]["text"])
        if method == "Network.requestWillBeSent":
            to = words["request"]["url"]
            if to != address and not to.startswith(("data:", "blob:")):
                seen["requests"].append(to)
    print(json.dumps(seen))


main()
