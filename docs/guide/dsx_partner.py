"""Plays the partner of DSX Flex for a trial: see "A first event" in signals/dsx-flex.md. Needs openssl and paho-mqtt 2.

    dsx_partner.py keys                              makes partner.pem and its key set, partner-jwks.json, where they are not there yet
    dsx_partner.py jwk FILE KID                      writes the public half of any P-256 or RSA key (PEM) as a key of a key set
    dsx_partner.py listen BROKER IDENTITY            writes what the agent says, a line for each message (not verified)
    dsx_partner.py set BROKER IDENTITY POWER         sets a load target: "60 kW", or "none" to lift what was set
        [--minutes N] [--after N]                    for so long, and so many minutes from now
        [--feed TAG]                                 for this feed alone; may be given more than once
        [--print]                                    writes the message and sends nothing

BROKER is HOST or HOST:PORT. Further: --partner NAME, --kid NAME, --ca FILE, --cert FILE, --key FILE, --user NAME, --password-file FILE.
"""

import argparse
import base64
import datetime
import json
import os
import subprocess
import sys
import uuid

UNITS = {"W": "watt", "kW": "kilowatt", "MW": "megawatt"}


def openssl(*words, data=None):
    done = subprocess.run(["openssl", *words], input=data, capture_output=True, check=False)
    if done.returncode != 0:
        sys.exit("openssl: " + done.stderr.decode(errors="replace").strip())
    return done.stdout


def coded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwk(path, kid):
    """The last 64 bytes of a public key of the curve P-256 are its two numbers; of RSA openssl writes the modulus."""
    public = openssl("pkey", "-in", path, "-pubout", "-outform", "DER")
    if len(public) == 91:
        x, y = public[-64:-32], public[-32:]
        return {"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": kid, "x": coded(x), "y": coded(y)}
    modulus = openssl("rsa", "-in", path, "-noout", "-modulus").decode().strip().partition("=")[2]
    return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": coded(bytes.fromhex(modulus)), "e": "AQAB"}


def keys(arguments):
    if not os.path.exists("partner.pem"):
        openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "partner.pem")
        os.chmod("partner.pem", 0o600)
    with open("partner-jwks.json", "w", encoding="utf-8") as file:
        json.dump({"keys": [jwk("partner.pem", arguments.kid)]}, file, indent=2)


def written(moment):
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def message(arguments):
    now = datetime.datetime.now(datetime.timezone.utc)
    begins = now + datetime.timedelta(minutes=arguments.after)
    constraint = None
    if arguments.power != "none":
        value, _, unit = arguments.power.partition(" ")
        if unit not in UNITS:
            sys.exit('write a power with its unit, like "60 kW", or none')
        constraint = {"value": float(value), "unit": UNITS[unit]}
    target = {"interval": {"start_time": written(begins)}, "load_constraint": constraint}
    if arguments.minutes is not None:
        target["interval"]["end_time"] = written(begins + datetime.timedelta(minutes=arguments.minutes))
    if arguments.feed:
        target["feed_tags"] = arguments.feed
    # What is signed: the data, with when it was signed and for whom it is.
    header = {"alg": "RS256", "kid": arguments.kid, "iat": now.timestamp(), "aud": arguments.identity}
    data = {"targets": [target]}
    signed = coded(json.dumps(header).encode()) + "." + coded(json.dumps(data).encode())
    signature = openssl("dgst", "-sha256", "-sign", "partner.pem", data=signed.encode())
    return {
        "specversion": "1.0.2",
        "id": str(uuid.uuid4()),
        "source": "//grid/v1/isv/" + arguments.partner,
        "type": "grid.loadtarget.set.v1",
        "time": written(now),
        "datacontenttype": "application/json",
        "subject": "loadtarget",
        "correlationid": str(uuid.uuid4()),
        "data": signed + "." + coded(signature),
    }


def connected(arguments):
    import paho.mqtt.client as mqtt

    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"partner-{uuid.uuid4().hex[:12]}")
    if arguments.user:
        password = None
        if arguments.password_file:
            with open(arguments.password_file, encoding="utf-8") as file:
                password = file.read().strip()
        client.username_pw_set(arguments.user, password)
    if arguments.ca:
        client.tls_set(arguments.ca, arguments.cert, arguments.key)
    host, _, port = arguments.broker.partition(":")
    return client, host, int(port or (8883 if arguments.ca else 1883))


def listen(arguments):
    client, host, port = connected(arguments)

    def subscribe(client, _data, _flags, reason, _properties):
        if reason.is_failure:
            sys.exit(f"the broker refuses: {reason}")
        client.subscribe(f"grid/v1/dsx-flex-agent/{arguments.identity}/#", 2)

    def tell(_client, _data, heard):
        event = json.loads(heard.payload)
        middle = event["data"].split(".")[1]
        said = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
        print(event["time"], heard.topic, json.dumps(said), flush=True)

    client.on_connect, client.on_message = subscribe, tell
    client.connect(host, port)
    client.loop_forever()


def send(arguments):
    event = message(arguments)
    if arguments.print:
        print(json.dumps(event, indent=2))
        return
    client, host, port = connected(arguments)
    client.connect(host, port)
    client.loop_start()
    told = client.publish(f"grid/v1/isv/{arguments.partner}/loadtarget/set", json.dumps(event), qos=1)
    told.wait_for_publish(10)
    client.disconnect()
    client.loop_stop()
    print("the broker has it" if told.is_published() else "the broker has not taken it")


def main():
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--partner", default="acme-energy")
    common.add_argument("--kid", default="acme-1")
    for option in ["--ca", "--cert", "--key", "--user", "--password-file"]:
        common.add_argument(option)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("keys", parents=[common]).set_defaults(run=keys)
    public = commands.add_parser("jwk")
    public.add_argument("file")
    public.add_argument("kid")
    public.set_defaults(run=lambda arguments: print(json.dumps(jwk(arguments.file, arguments.kid), indent=2)))
    for name, run in [("listen", listen), ("set", send)]:
        command = commands.add_parser(name, parents=[common])
        command.add_argument("broker")
        command.add_argument("identity")
        command.set_defaults(run=run)
        if name == "set":
            command.add_argument("power")
            command.add_argument("--minutes", type=float)
            command.add_argument("--after", type=float, default=0.0)
            command.add_argument("--feed", action="append")
            command.add_argument("--print", action="store_true")
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
