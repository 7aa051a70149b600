"""The report's page in a browser: what a reader with mouse, keyboard and any screen gets.

Not collected by default, since it needs Debian's package ``chromium``. Run it with
``pytest tests/browser/report_page.py``; screenshots go to ``$OUT_DIR``, if that is set.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sdc_search.report import Report, html

WIDE, NARROW = 1400, 400


class Browser:
    """Chromium, spoken to in its DevTools protocol over two pipes."""

    def __init__(self, profile: Path) -> None:
        program = shutil.which("chromium") or shutil.which("google-chrome")
        assert program is not None, "chromium is missing: apt-get install chromium"
        commands_out, commands_in = os.pipe()
        events_out, events_in = os.pipe()
        # Chromium reads descriptor 3 and writes 4; copies far above them are in nobody's way.
        theirs = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (commands_out, events_in)]

        def arrange() -> None:
            os.dup2(theirs[0], 3)
            os.dup2(theirs[1], 4)

        flags = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--hide-scrollbars",
            "--remote-debugging-pipe",
        ]
        self.process = subprocess.Popen(
            [program, *flags, f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=arrange,
            pass_fds=(3, 4),
            stderr=subprocess.DEVNULL,
        )
        for fd in (commands_out, events_in, *theirs):
            os.close(fd)
        self.commands, self.events = commands_in, os.fdopen(events_out, "rb")
        self.number, self.session, self.seen = 0, "", list[dict[str, Any]]()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in "Page", "Runtime", "Network", "Log":
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and return its result; what happens meanwhile is added to `seen`."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self.number:
                assert "error" not in answer, (method, answer)
                return dict(answer["result"])
            self.seen.append(answer)

    def _read(self) -> dict[str, Any]:
        parts = bytearray()
        while (byte := self.events.read(1)) != b"\0":
            assert byte, "chromium has ended"
            parts += byte
        return dict(json.loads(parts))

    def run(self, expression: str) -> Any:
        """Evaluate JavaScript in the page and return its value."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def open(self, path: Path, width: int, *, dark: bool = False) -> None:
        """Load a page on a screen of `width` CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        wishes = {"color-scheme": "dark" if dark else "light", "reduced-motion": "reduce"}
        features = [{"name": f"prefers-{name}", "value": value} for name, value in wishes.items()]
        self.call("Emulation.setEmulatedMedia", features=features)
        self.seen.clear()
        self.call("Page.navigate", url=path.as_uri())
        deadline = time.monotonic() + 60
        while self.run("document.readyState") != "complete" or self.run("location.href") != path.as_uri():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press and release a key."""
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def click(self, selector: str) -> None:
        """Click into the middle of an element with the mouse."""
        x, y = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({ block: 'center', behavior: 'instant' });"
            " const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in "mousePressed", "mouseReleased":
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def screenshot(self, path: Path) -> None:
        """Write a PNG of the whole page."""
        picture = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(picture["data"]))

    def close(self) -> None:
        """End the process."""
        self.process.terminate()
        self.process.wait(timeout=30)
        os.close(self.commands)
        self.events.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def page(report: Report, tmp_path: Path) -> Path:
    path = tmp_path / "report.html"
    path.write_text(html(report), encoding="utf-8")
    return path


def column(browser: Browser, place: int) -> list[str]:
    """Return the texts of a column of the first table."""
    return list(
        browser.run(
            "[...document.querySelector('table').tBodies[0].rows]"
            f".map((row) => row.cells[{place}].firstChild.textContent.trim())"
        )
    )


def sorting(browser: Browser) -> list[str]:
    return list(browser.run("[...document.querySelector('thead tr').cells].map((cell) => cell.ariaSort)"))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_page_fits_and_complains_of_nothing(browser: Browser, page: Path, width: int, dark: bool) -> None:
    browser.open(page, width, dark=dark)
    assert browser.run("document.documentElement.scrollWidth") == width
    assert browser.run("document.title").startswith("Codes <script>")
    assert browser.run("document.documentElement.className") == "js"  # the policy lets the page's script run
    assert browser.run("document.images.length") == 1
    assert browser.run("[...document.images].every((image) => image.naturalWidth > 0)")
    shade = browser.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]")
    assert shade < 60 if dark else shade > 200
    requests = [
        event["params"]["request"]["url"]
        for event in browser.seen
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert [url for url in requests if not url.startswith(("data:", page.as_uri()))] == []
    assert [e for e in browser.seen if e["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")] == []
    if "OUT_DIR" in os.environ:
        browser.screenshot(Path(os.environ["OUT_DIR"], f"report-{width}-{'dark' if dark else 'light'}.png"))


def test_injected_scripts_do_not_run(browser: Browser, page: Path) -> None:
    hole = "<script>document.title = 'owned'</script>"
    page.write_text(page.read_text().replace("</main>", f"{hole}</main>"))
    browser.open(page, WIDE)
    assert browser.run("document.title") != "owned"  # even one that had got past the escaping


def test_sorting_by_mouse(browser: Browser, page: Path) -> None:
    browser.open(page, WIDE)
    assert sorting(browser) == ["none", "none", "none"]
    browser.click("thead th:nth-child(2) button")
    assert sorting(browser) == ["none", "descending", "none"]
    assert column(browser, 1) == ["59.8", "45.0", "25.0", "\N{EN DASH}"]
    browser.click("thead th:nth-child(2) button")
    assert sorting(browser) == ["none", "ascending", "none"]
    assert column(browser, 1) == ["25.0", "45.0", "59.8", "\N{EN DASH}"]  # what is absent stays last
    browser.click("thead th:nth-child(1) button")
    assert sorting(browser) == ["ascending", "none", "none"]
    assert [name[:3] for name in column(browser, 0)] == ["A <", "LSH", "SDC", "SDC"]


@pytest.mark.parametrize(("key", "code", "text"), [("Enter", 13, "\r"), (" ", 32, " ")])
def test_sorting_by_keyboard(browser: Browser, page: Path, key: str, code: int, text: str) -> None:
    browser.open(page, WIDE)
    for _ in range(30):
        browser.press("Tab", 9)
        if browser.run("document.activeElement.textContent") == "32 bits":
            break
    browser.press(key, code, text)
    assert sorting(browser) == ["none", "none", "descending"]
    assert column(browser, 2) == ["64.0", "55.0", "40.0", "30.0"]
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert browser.run(outline) == "solid"  # one sees where the keyboard is


def shown(browser: Browser) -> set[tuple[str, str]]:
    """Return bits and method of the rankings that one can see."""
    pairs = browser.run(
        "[...document.querySelectorAll('.ranking')].filter((r) => r.getClientRects().length > 0)"
        ".map((r) => [r.dataset.bits, r.dataset.method])"
    )
    return {(bits, method) for bits, method in pairs}


def test_slider_and_methods_choose_what_is_shown(browser: Browser, page: Path) -> None:
    browser.open(page, NARROW)
    assert shown(browser) == {("64", "0"), ("64", "3")}
    browser.run("document.getElementById('bits').focus()")
    browser.press("ArrowLeft", 37)
    assert shown(browser) == {("32", "0"), ("32", "3")}
    assert browser.run("document.querySelector('output').value") == "32 bits"
    assert browser.run("document.getElementById('bits').getAttribute('aria-valuetext')") == "32 bits"
    browser.press("Home", 36)
    assert shown(browser) == {("16", "0"), ("16", "3")}
    browser.click("fieldset label:nth-of-type(2) input")
    assert shown(browser) == {("16", "0"), ("16", "1"), ("16", "3")}


def test_everything_is_there_without_scripts(browser: Browser, page: Path) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(page, WIDE)
        assert len(shown(browser)) == 4 * 3
        assert browser.run("getComputedStyle(document.querySelector('.slider')).display") == "none"
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
