#!/usr/bin/env python3
"""python3 verify.py FILE [PUBLIC-KEY.pem]: verifies a file of `ballast ledger export`. Needs the command openssl."""
import base64, hashlib, json, pathlib, subprocess, sys, tempfile

def once(pairs):
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name stands twice")
    return dict(pairs)

def over(body):
    return body["event"] == "refused" or (body["event"] == "ended" and body.get("reason") != "a later version")

def read(path):
    for number, line in enumerate(open(path, encoding="utf-8"), 1):
        try:
            yield json.loads(line, object_pairs_hook=once)
        except ValueError as error:
            sys.exit(f"line {number} cannot be read: {error}")

def verify(path, key=None):
    heading, *entries = read(path)
    key = open(key, encoding="ascii").read() if key else heading["public_key"]
    previous, run = "0" * 64 if entries[0]["number"] == 1 else json.loads(entries[0]["body"])["head"], []
    if (entries[0]["number"] > 1 and entries[0]["kind"] != "checkpoint") or entries[-1]["kind"] != "checkpoint":
        sys.exit("it does not begin and end with a signature")
    for number, e in enumerate(entries, entries[0]["number"]):
        text, body = f'{previous}\n{number}\n{e["at"]}\n{e["kind"]}\n{e["body"]}\n', json.loads(e["body"])
        if len(e) != 5 or e["number"] != number or hashlib.sha256(text.encode()).hexdigest() != e["hash"]:
            sys.exit(f"entry {number} is not what was written")
        if e["kind"] == "checkpoint":
            with tempfile.TemporaryDirectory() as folder:
                files = {"key": key.encode(), "sig": base64.b64decode(body["signature"]), "msg": f"{number - 1}:{previous}".encode()}
                [pathlib.Path(folder, name).write_bytes(content) for name, content in files.items()]
                command = "openssl pkeyutl -verify -rawin -pubin -inkey key -in msg -sigfile sig".split()
                if subprocess.run(command, cwd=folder, capture_output=True).returncode or body["head"] != previous:
                    sys.exit(f"the signature of entry {number} does not hold")
        if e["kind"] == "order" and all(body.get(name) == heading["order"][name] for name in ("order", "source")):
            run = [*(run if run and not over(json.loads(run[-1]["body"])) else []), e]
        previous = e["hash"]
    # The first line is not signed: it must say what the signed entries say, and nothing else.
    last = json.loads(run[-1]["body"]) if run else None
    signed = {"ballast_proof": 1, "order": last, "entries": [e["number"] for e in run], "complete": bool(run) and over(last)}
    for name in signed.keys() | heading.keys() - {"public_key"}:
        if name not in signed or heading.get(name) != signed[name]:
            sys.exit(f'the first line is not what the signed entries say: "{name}"')
    print(*(f'{e["at"]} {e["body"]}' for e in run), f'entries {entries[0]["number"]} to {number} hold; head {number}:{previous}', sep="\n")

if len(sys.argv) not in (2, 3):
    sys.exit(__doc__)
try:
    verify(*sys.argv[1:])
except Exception as error:
    sys.exit(f"it cannot be read as a file of `ballast ledger export`: {error!r}")
