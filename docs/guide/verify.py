#!/usr/bin/env python3
"""python3 verify.py FILE [PUBLIC-KEY.pem]: verifies a file of `ballast ledger export`. Needs the command openssl."""
import base64, hashlib, json, pathlib, subprocess, sys, tempfile

heading, *entries = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
key = open(sys.argv[2], encoding="ascii").read() if len(sys.argv) > 2 else heading["public_key"]
previous, found = "0" * 64 if entries[0]["number"] == 1 else json.loads(entries[0]["body"])["head"], []
if (entries[0]["number"] > 1 and entries[0]["kind"] != "checkpoint") or entries[-1]["kind"] != "checkpoint":
    sys.exit("it does not begin and end with a signature")
for number, e in enumerate(entries, entries[0]["number"]):
    text, body = f'{previous}\n{number}\n{e["at"]}\n{e["kind"]}\n{e["body"]}\n', json.loads(e["body"])
    if e["number"] != number or hashlib.sha256(text.encode()).hexdigest() != e["hash"]:
        sys.exit(f"entry {number} is not what was written")
    if e["kind"] == "checkpoint":
        with tempfile.TemporaryDirectory() as folder:
            files = {"key": key.encode(), "sig": base64.b64decode(body["signature"]), "msg": f"{number - 1}:{previous}".encode()}
            [pathlib.Path(folder, name).write_bytes(content) for name, content in files.items()]
            command = "openssl pkeyutl -verify -rawin -pubin -inkey key -in msg -sigfile sig".split()
            if subprocess.run(command, cwd=folder, capture_output=True).returncode or body["head"] != previous:
                sys.exit(f"the signature of entry {number} does not hold")
    if e["kind"] == "order" and body["order"] == heading["order"]["order"]:
        found.append(f'{e["at"]} {e["body"]}')
    previous = e["hash"]
print(*found, f'entries {entries[0]["number"]} to {number} hold; head {number}:{previous}', sep="\n")
