"""A partner of the grid as DSX Flex 1.7 has it, and a foreign agent, beside nothing of ours: paho-mqtt for the broker and openssl for what
is signed.

dsx_partner.py keys FOLDER           makes partner.pem and rogue.pem (RSA), partner-jwks.json, agent.pem and agent.pub (P-256)
dsx_partner.py rotate FOLDER         the key set has the public half of rogue.pem from now on, as acme-2, and no other
dsx_partner.py listen BROKER FOLDER  says every message of ours, as agent or infra, as a line of JSON, its data verified
dsx_partner.py set BROKER FOLDER DATA [key=NAME] [alg=ALG] [kid=NAME] [age=SECONDS] [id=UUID] [source=NAME] [as=FILE] [from=FILE]
                                     sends a list of load targets; `as` keeps the message, `from` sends one that was kept
dsx_partner.py alert|state BROKER FOLDER DATA …   the same, an alert or a status of the foreign agent; "NOW" in DATA is when it is sent
BROKER is HOST,USER,PASSWORD. Needs paho-mqtt 2.
"""

import base64
import datetime
import json
import os
import sys
import uuid

# This file runs as a program, so that the name is free for the one of the guide.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/guide"))
from dsx_partner import coded, jwk, openssl  # noqa: E402

PARTNER = "acme-energy"
# Who says it, where and with what quality of service.
SAID = {
    "set": ("isv", PARTNER, "loadtarget/set", 1, "grid.loadtarget.set.v1", "loadtarget"),
    "alert": ("dsx-flex-agent", "maxlps", "powerbreach", 2, "grid.powerbreach.alert.v1", "powerbreach"),
    "state": ("dsx-flex-agent", "maxlps", "powerstate/status", 1, "grid.powerstate.status.v1", "powerstate"),
}


def decoded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def keys(folder):
    at = lambda name: os.path.join(folder, name)
    for name in ["partner.pem", "rogue.pem"]:
        openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", at(name))
    publish(folder, "partner.pem", "acme-1")
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", at("agent.pem"))
    os.chmod(at("agent.pem"), 0o600)
    openssl("pkey", "-in", at("agent.pem"), "-pubout", "-out", at("agent.pub"))


def publish(folder, name, kid):
    """Puts a key set with one public key in the place of the one before."""
    key = jwk(os.path.join(folder, name), kid)
    path = os.path.join(folder, "partner-jwks.json")
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump({"keys": [key]}, file)
    os.replace(path + ".new", path)


def signed(folder, data, key, alg, kid, sent):
    # Every message is signed for itself: what says the same differs by when it was said.
    header = {"alg": alg, "kid": kid, "iat": sent.timestamp()}
    message = coded(json.dumps(header).encode()) + "." + coded(data.encode())
    if alg == "none":
        return message + "."
    path = os.path.join(folder, f"signed-{uuid.uuid4()}")
    with open(path, "wb") as file:
        file.write(message.encode())
    signature = openssl("dgst", "-sha256", "-sign", os.path.join(folder, key + ".pem"), path)
    os.remove(path)
    return message + "." + coded(signature)


def whole(number):
    """A number as DER has it."""
    number = number.lstrip(b"\0") or b"\0"
    number = b"\0" + number if number[0] & 0x80 else number
    return b"\x02" + bytes([len(number)]) + number


def verified(folder, compact):
    """The data of an agent, when it is signed with ES256 and their key."""
    message, _, signature = compact.rpartition(".")
    header, _, data = message.partition(".")
    header, signature = json.loads(decoded(header)), decoded(signature)
    assert header["alg"] == "ES256" and header["kid"] == "mill-1" and len(signature) == 64, header
    numbers = whole(signature[:32]) + whole(signature[32:])
    name = os.path.join(folder, f"heard-{uuid.uuid4()}")
    with open(name, "wb") as file:
        file.write(message.encode())
    with open(name + ".sig", "wb") as file:
        file.write(b"\x30" + bytes([len(numbers)]) + numbers)
    openssl("dgst", "-sha256", "-verify", os.path.join(folder, "agent.pub"), "-signature", name + ".sig", name)
    os.remove(name)
    os.remove(name + ".sig")
    return json.loads(decoded(data))


def client(broker, name):
    import paho.mqtt.client as mqtt

    host, user, password = broker.split(",")
    made = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv311)
    made.username_pw_set(user, password)
    return made, host


def listen(broker, folder):
    made, host = client(broker, "listener")

    def connected(who, _data, _flags, reason, _properties):
        assert not reason.is_failure, reason
        agent, infra = "grid/v1/dsx-flex-agent/mill/", "grid/v1/infra/mill/"
        who.subscribe([(agent + "powerstate/status", 1), (agent + "powerbreach", 2), (infra + "powerbreach/enforcement", 2)])
        print(json.dumps({"listening": True}), flush=True)

    def heard(_who, _data, message):
        event = json.loads(message.payload)
        said = {"topic": message.topic, "qos": message.qos, "event": event, "data": verified(folder, event["data"])}
        print(json.dumps(said), flush=True)

    made.on_connect, made.on_message = connected, heard
    made.suppress_exceptions = False
    made.connect(host, 1883)
    made.loop_forever()


def say(what, broker, folder, data, options):
    role, name, topic, quality, kind, subject = SAID[what]
    options = dict(option.split("=", 1) for option in options)
    sent = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=float(options.get("age", "0")))
    time = sent.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    data = data.replace('"NOW"', json.dumps(time))
    event = {
        "specversion": "1.0.2",
        "id": options.get("id", str(uuid.uuid4())),
        "source": f"//grid/v1/{role}/" + options.get("source", name),
        "type": kind,
        "time": time,
        "datacontenttype": "application/json",
        "subject": subject,
        "correlationid": str(uuid.uuid4()),
        "traceparent": f"00-{uuid.uuid4().hex}-b7ad6b7169203331-01",
        "data": signed(folder, data, options.get("key", "partner"), options.get("alg", "RS256"), options.get("kid", "acme-1"), sent),
    }
    if options.get("alg") == "object":
        event["data"] = json.loads(data)
    payload = json.dumps(event)
    if "from" in options:
        with open(os.path.join(folder, options["from"]), encoding="utf-8") as file:
            payload = file.read()
    if "as" in options:
        with open(os.path.join(folder, options["as"]), "w", encoding="utf-8") as file:
            file.write(payload)
    made, host = client(broker, f"partner-{uuid.uuid4().hex[:12]}")
    made.connect(host, 1883)
    made.loop_start()
    told = made.publish(f"grid/v1/{role}/{name}/{topic}", payload, qos=quality)
    told.wait_for_publish(10)
    made.disconnect()
    made.loop_stop()
    assert told.is_published()
    print(json.dumps({"id": event["id"], "correlationid": event["correlationid"]}))


def main(what, *arguments):
    if what == "keys":
        keys(*arguments)
    elif what == "rotate":
        publish(*arguments, "rogue.pem", "acme-2")
    elif what == "listen":
        listen(*arguments)
    elif what in SAID:
        broker, folder, data, *options = arguments
        say(what, broker, folder, data, options)


if __name__ == "__main__":
    main(*sys.argv[1:])
