"""Checks the dashboard of a running daemon in a real browser. Standard library only.

    check.py URL [--token-file FILE] [--maintenance MINER] [--files FOLDER] [--pictures FOLDER] [--restart] [--seconds N]

--token-file  a token of scope `operator`, in a file: then what a token shows is looked at, too. Nothing is ordered
--maintenance a miner on which "Aisha" works and that is left alone: the page must say so
--files       the folder of the page's files: their size is checked
--pictures    where pictures of the page go: 390, 1280 and 2560 pixels wide, light and dark
--restart     says `stop`, then `start`, each on a line of its own, waits each time for a line on the standard input by
              which that is done, and checks that the page shows it and goes on by itself
--seconds     for how long updates are watched (default 5)

Ends with 0 and `PASSED`, with 1 and what is wrong, with 77 and `SKIPPED` where there is no browser. How long things took
is told and not judged.
"""

import argparse
import json
import os
import statistics
import sys
import urllib.parse

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from browser import Browser, BrowserError, find  # noqa: E402  (the folder of this file comes first)

LARGEST = 150_000
WINDOWS = [(390, 844), (1280, 800), (2560, 1440)]
HERE = os.path.dirname(os.path.abspath(__file__))
LIVE = "document.getElementById('fresh')?.dataset.state === 'live'"
# While a daemon is away the browser itself notes each request that fails; nobody can keep it from that.
AWAY = ("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE", "ERR_NETWORK_CHANGED")


class Check:
    """What was found, and the browser in which."""

    def __init__(self, browser, arguments):
        self.browser = browser
        self.url = arguments.url.rstrip("/") + "/"
        self.arguments = arguments
        self.wrong = []
        with open(os.path.join(HERE, "rules.js"), encoding="utf-8") as file:
            self.rules = file.read()

    def holds(self, truth, words):
        if not truth:
            self.wrong.append(words)
            print(f"WRONG: {words}")
        return truth

    def looks(self, where):
        """The rules for names, contrast, landmarks and overflow, on what is shown now."""
        for finding in self.browser.run(f"({self.rules})()"):
            self.holds(False, f"{where}: {finding}")

    def quiet(self, where, away=False):
        """No error in the console, and no request to elsewhere."""
        for source, text in self.browser.messages():
            if not (away and any(word in text for word in AWAY)):
                self.holds(False, f"{where}: the console says ({source}) {text}")
        home = urllib.parse.urlsplit(self.url).netloc
        for address in set(self.browser.asked()):
            parts = urllib.parse.urlsplit(address)
            if parts.scheme in ("http", "https", "ws", "wss"):
                self.holds(parts.netloc == home, f"{where}: the page asks {address}")
                self.holds("token" not in parts.query.lower(), f"{where}: a token may stand in {address}")
        self.browser.forget()


def open_page(check, token=None):
    """Opens the page and waits for its first data."""
    browser = check.browser
    browser.open(check.url)
    if token:
        browser.run(f"sessionStorage.setItem('ballast-token', {json.dumps(token)}); sessionStorage.setItem('ballast-name', 'Test')")
        browser.open(check.url)
    browser.wait(LIVE)
    browser.wait("!document.body.classList.contains('waiting')")


def first_paint(check):
    browser = check.browser
    paint = browser.wait("performance.getEntriesByName('first-contentful-paint')[0]?.startTime")
    print(f"first contentful paint after {paint:.0f} ms")
    sentence = browser.run("document.getElementById('sentence').textContent")
    print(f"it says: {sentence}")
    check.holds(len(sentence) > 15 and "Waiting" not in sentence, "the sentence says why the fleet stands where it stands")
    check.holds(browser.run("document.querySelectorAll('#figures .figure').length") == 6, "there are six key figures")
    check.holds(browser.run("document.querySelectorAll('#circuit-rows tr').length") > 0, "the circuits are there")
    check.holds(browser.run("document.getElementById('map').height") > 10, "the map of miners is drawn")


def updates(check, seconds):
    """Updates come, and how long they take."""
    browser = check.browser
    browser.rest(1)
    browser.run("""(() => {
        performance.clearMeasures('ballast-update');
        globalThis.slow = [];
        try { new PerformanceObserver((list) => slow.push(...list.getEntries().map((one) => one.duration))).observe({ type: 'long-animation-frame' }); }
        catch { slow = null; }
    })()""")
    before = browser.run("document.getElementById('clock').textContent")
    browser.rest(seconds)
    times = browser.run("performance.getEntriesByName('ballast-update').map((one) => one.duration)")
    slow = browser.run("slow")
    check.holds(len(times) >= max(1, seconds // 3), f"updates come ({len(times)} in {seconds} s)")
    check.holds(browser.run("document.getElementById('clock').textContent") != before, "the clock goes on")
    if times:
        miners = browser.run("document.getElementById('miners-sum').textContent")
        print(f"{len(times)} updates ({miners}): median {statistics.median(times):.1f} ms, longest {max(times):.1f} ms in scripts; "
              f"frames above 50 ms with drawing: {', '.join(f'{one:.0f} ms' for one in slow or []) or 'none'}")


def hands(check):
    """What a keyboard does: the chart, the map, the list, the details and the way back."""
    browser = check.browser
    browser.run("document.getElementById('chart-canvas').focus()")
    browser.key("ArrowLeft")
    browser.key("ArrowLeft")
    check.holds("," in browser.run("document.getElementById('chart-canvas').getAttribute('aria-valuetext')"), "the chart says its values to the keyboard")
    check.holds(browser.run("/^\\d\\d:\\d\\d:\\d\\d/.test(document.getElementById('chart-when').textContent)"), "the cursor of the chart has its time")
    browser.key("Escape")
    browser.run("document.getElementById('map').focus()")
    browser.key("ArrowRight")
    browser.key("Enter")
    browser.wait("!document.getElementById('details').hidden && document.querySelectorAll('#details dd').length > 3")
    check.looks("details of a miner")
    browser.key("Escape")
    browser.wait("document.getElementById('details').hidden")
    check.holds(browser.run("document.activeElement?.id") == "map", "the focus goes back to the map")
    browser.run("document.getElementById('as-list').click()")
    browser.wait("document.querySelectorAll('.list-body .list-row:not([hidden])').length > 0")
    rows = browser.run("document.querySelectorAll('.list-body .list-row').length")
    check.holds(rows < 80, f"the list holds the rows in sight alone ({rows})")
    check.looks("list of miners")
    browser.run("document.querySelector('.list-body .list-row[tabindex=\"0\"]').focus()")
    browser.key("End")
    check.holds(browser.run("document.activeElement?.getAttribute('aria-rowindex') === document.querySelector('.list').getAttribute('aria-rowcount')"), "End goes to the last miner")
    browser.run("(() => { const box = document.getElementById('search'); box.value = 'no such miner'; box.dispatchEvent(new Event('input')); })()")
    check.holds(browser.run("document.getElementById('miners-sum').textContent").startswith("0 of"), "a search that finds nothing says so")
    browser.run("(() => { const box = document.getElementById('search'); box.value = ''; box.dispatchEvent(new Event('input')); document.getElementById('as-map').click(); })()")
    browser.run("document.querySelector('#chart-table summary').click()")
    browser.rest(1.5)
    check.holds(browser.run("document.querySelectorAll('#chart-table tbody tr').length") > 0, "the chart is there as a table")
    check.looks("chart as a table")
    browser.run("document.querySelector('#chart-table summary').click()")


def maintenance(check, name):
    """What is worked on is named, counted, and marked on the map and in the list."""
    browser = check.browser
    browser.wait("document.querySelector('#notes')?.textContent.includes('In maintenance')", within=30)
    words = browser.run("document.getElementById('notes').textContent")
    check.holds(f"In maintenance by Aisha: {name}" in words, f"who works on what is said: {words}")
    chip = "[...document.querySelectorAll('#state-filter button')].find((one) => one.textContent.startsWith('in maintenance'))"
    check.holds(browser.run(f"{chip}?.textContent") == "in maintenance1", "what is worked on is counted")
    browser.run(f"{chip}.click()")
    browser.run("document.getElementById('as-list').click()")
    browser.wait("document.querySelectorAll('.list-body .list-row:not([hidden])').length === 1")
    row = browser.run("document.querySelector('.list-body .list-row:not([hidden])').textContent")
    check.holds(name in row and "in maintenance" in row, f"the list marks it: {row}")
    check.looks("what is worked on")
    browser.run(f"{chip}.click(); document.getElementById('as-map').click()")
    # Where a miner and its circuit are both worked on, the law takes the stricter one, in whichever order they stand.
    works = browser.run("""import('./assets/fleet.js').then(({ Fleet }) => {
        const fleet = new Fleet({ generation: 1, states: [], circuits: [{ name: 'a' }], miners: [['m', 0, '', 1], ['n', 0, '', 1]] });
        const list = [{ kind: 'miner', name: 'm', hold: 'hands-off' }, { kind: 'circuit', name: 'a', hold: 'asleep' }];
        return [list, [...list].reverse()].map((one) => { fleet.takeWork(one); return [...fleet.work].join(); });
    })""")
    check.holds(works == ["2,1", "2,1"], f"the stricter of two holds counts: {works}")


def classes(check):
    """Servers are found by their class, and the sentence says which class gives; told to the scripts, for the site here has none."""
    browser = check.browser
    found = browser.run("""import('./assets/fleet.js').then(({ Fleet }) => {
        const fleet = new Fleet({ generation: 1, states: ['hashing'], circuits: [{ name: 'a' }], miners: [['m', 0, '', 1], ['g', 0, '', 1]],
            servers: [[1, 'throttle']] });
        const find = (words, kind) => [...fleet.matches({ words, kind, states: new Set(), circuit: -1 }).into].join();
        return [find('', ''), find('thro', ''), find('', 'throttle'), find('', 'miner'), fleet.title(0), fleet.title(1)];
    })""")
    check.holds(found == ["1,1", "0,1", "0,1", "1,0", "m", "g (throttle)"], f"a class is found by words and by choice: {found}")
    said = browser.run("""import('./assets/why.js').then(({ sentence }) => {
        const one = (name, gives) => ({ class: name, power_watts: 20000, sheddable_watts: gives, paused: 0 });
        const fleet = { power_watts: 40000, budget_watts: 40000, surplus_watts: null, shortfall_watts: 0 };
        const binding = { source: 'utility', class: 'grid', words: 'held at 40 kW by the order 17' };
        const say = (classes) => sentence({ mode: 'limited', cycle: { fleet, binding, classes } });
        return [say([one('miner', 0), one('throttle', 6000)]), say([one('miner', 6000)])];
    })""")
    check.holds("miners can give no more, throttle gives next, up to 6.00" in said[0], f"the sentence says which class gives: {said[0]}")
    check.holds("gives" not in said[1], f"where there are miners alone, nothing is said of classes: {said[1]}")


def words(check):
    """What is said of situations that the site here is not in; told to the scripts."""
    with open(os.path.join(HERE, "words.js"), encoding="utf-8") as file:
        for finding in check.browser.run(f"({file.read()})()"):
            check.holds(False, f"the page says: {finding}")


def tokens(check):
    """What a token shows. Nothing is sent that moves anything."""
    browser = check.browser
    for button in ("set-limit", "pause", "emergency"):
        check.holds(browser.run(f"!document.getElementById('{button}').hidden"), f"with a token there is the button {button}")
        browser.run(f"document.getElementById('{button}').click()")
        browser.rest(1)
        check.holds(browser.run("document.getElementById('dialog').open"), f"{button} asks before it acts")
        check.looks(f"dialog of {button}")
        if button == "emergency" and check.arguments.maintenance:
            words = browser.run("document.getElementById('dialog').textContent")
            check.holds("but for 1 miner in hands-off maintenance" in words, f"an emergency stop says whom it leaves alone: {words}")
        browser.key("Escape")
        browser.wait("!document.getElementById('dialog').open")
    check.holds("token" not in browser.run("location.href").lower(), "the token stands in no address")
    check.holds(browser.run("localStorage.getItem('ballast-token')") is None, "the token is not kept beyond the tab")


def restart(check):
    """The daemon goes away and comes back; the page shows both by itself."""
    browser = check.browser
    browser.run("globalThis.sameDocument = true")
    shown = browser.run("document.querySelector('.figure.draw .number').textContent")
    print("stop", flush=True)
    check.holds(sys.stdin.readline() != "", "somebody says when the daemon is away")
    browser.wait("!document.getElementById('banner').hidden && document.body.classList.contains('stale')", within=40)
    words = browser.run("document.getElementById('banner-words').textContent")
    print(f"it says: {words}")
    check.holds(words.startswith("No data for"), "the banner says for how long there has been no data")
    figure = browser.run("document.querySelector('.figure.draw .number').textContent")
    check.holds(shown == "0" or figure != "0", "what is old is not shown as zero")
    check.looks("without the daemon")
    print("start", flush=True)
    check.holds(sys.stdin.readline() != "", "somebody says when the daemon is back")
    browser.wait(LIVE, within=40)
    browser.rest(2)
    check.holds(browser.run("globalThis.sameDocument === true"), "the page was not loaded anew")
    check.holds(browser.run("document.getElementById('banner').hidden && !document.body.classList.contains('stale')"), "the banner goes once data comes again")
    check.looks("after a restart")
    check.quiet("after a restart", away=True)


def pictures(check, folder):
    browser = check.browser
    os.makedirs(folder, exist_ok=True)
    for width, height in WINDOWS:
        for scheme in ("light", "dark"):
            browser.window(width, height, scheme, mobile=width < 500)
            browser.rest(1.6)
            browser.picture(os.path.join(folder, f"{width}-{scheme}.png"))


def size(check, folder):
    total = 0
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb") as file:
            data = file.read()
        text = data.decode()
        # As it is served: without the lines of a script that are nothing but a comment, and without their indentation.
        sent = data.splitlines(True)
        if name.endswith(".js"):
            sent = [line.lstrip() for line in sent if not line.lstrip().startswith(b"//")]
        total += sum(map(len, sent))
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
            check.holds(word not in text, f"{name} has {word}: names are hostile")
        for word in ("http://", "https://"):
            rest = text.replace("http://www.w3.org/2000/svg", "")
            check.holds(word not in rest, f"{name} names an address elsewhere")
    print(f"{total} bytes in {len(os.listdir(folder))} files")
    check.holds(total < LARGEST, f"the page has {total} bytes; {LARGEST} is the most")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    for name in ("--token-file", "--maintenance", "--files", "--pictures"):
        parser.add_argument(name)
    parser.add_argument("--restart", action="store_true")
    parser.add_argument("--seconds", type=int, default=5)
    arguments = parser.parse_args()
    path = find()
    if not path:
        print("SKIPPED: there is no chromium to open the page in")
        return 77
    token = None
    if arguments.token_file:
        with open(arguments.token_file, encoding="utf-8") as file:
            token = file.read().strip()
    try:
        browser = Browser(path)
    except (BrowserError, OSError) as error:
        print(f"SKIPPED: {path} does not start here: {error}")
        return 77
    check = Check(browser, arguments)
    try:
        if arguments.files:
            size(check, arguments.files)
        browser.window(1280, 800)
        open_page(check)
        first_paint(check)
        updates(check, arguments.seconds)
        for width, height in WINDOWS:
            for scheme in ("light", "dark"):
                browser.window(width, height, scheme, mobile=width < 500)
                browser.rest(1.2)
                check.looks(f"{width} pixels, {scheme}")
        browser.window(1280, 800)
        browser.rest(0.5)
        hands(check)
        classes(check)
        words(check)
        if arguments.maintenance:
            maintenance(check, arguments.maintenance)
        check.quiet("without a token")
        if token:
            open_page(check, token)
            browser.rest(2)
            tokens(check)
            check.looks("with a token")
            check.quiet("with a token")
        if arguments.pictures:
            pictures(check, arguments.pictures)
        if arguments.restart:
            browser.window(1280, 800)
            restart(check)
    except BrowserError as error:
        check.holds(False, str(error))
    finally:
        browser.close()
    print("PASSED" if not check.wrong else f"{len(check.wrong)} wrong")
    return 1 if check.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
