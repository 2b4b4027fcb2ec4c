#!/usr/bin/env python3
"""python3 verify.py FILE [PUBLIC-KEY.pem]: verifies a file of `ballast ledger export`. Needs the command openssl."""
import base64, hashlib, json, pathlib, subprocess, sys, tempfile

heading, *entries = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
key = open(sys.argv[2], encoding="ascii").read() if len(sys.argv) > 2 else heading["public_key"]
previous = "0" * 64 if entries[0]["number"] == 1 else json.loads(entries[0]["body"])["head"]
if (entries[0]["number"] > 1 and entries[0]["kind"] != "checkpoint") or entries[-1]["kind"] != "checkpoint":
    sys.exit("it does not begin and end with a signature")
for number, e in enumerate(entries, entries[0]["number"]):
    text = f'{previous}\n{number}\n{e["at"]}\n{e["kind"]}\n{e["body"]}\n'
    if e["number"] != number or hashlib.sha256(text.encode()).hexdigest() != e["hash"]:
        sys.exit(f"entry {number} is not what was written")
    if e["kind"] == "checkpoint":
        body, folder = json.loads(e["body"]), pathlib.Path(tempfile.mkdtemp())
        (folder / "key").write_text(key), (folder / "signature").write_bytes(base64.b64decode(body["signature"]))
        (folder / "message").write_text(f"{number - 1}:{previous}")
        command = "openssl pkeyutl -verify -rawin -pubin -inkey key -in message -sigfile signature".split()
        if subprocess.run(command, cwd=folder, capture_output=True).returncode or body["head"] != previous:
            sys.exit(f"the signature of entry {number} does not hold")
    if number in heading["entries"]:
        print(e["at"], e["body"])
    previous = e["hash"]
print(f'entries {entries[0]["number"]} to {number} hold; head {number}:{previous}')
