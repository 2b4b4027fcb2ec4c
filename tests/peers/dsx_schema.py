"""Whether messages are as the schema of DSX Flex has them.

dsx_schema.py SCHEMA MESSAGES: the AsyncAPI document (YAML), and a list [{"schema": NAME, "value": …}, …] (JSON). Says what is wrong
with each that is not valid, and ends with 1 then. Needs jsonschema and pyyaml.
"""

import datetime
import json
import sys
import uuid

import jsonschema
import yaml

FORMATS = jsonschema.FormatChecker(formats=())


@FORMATS.checks("uuid", raises=ValueError)
def is_uuid(value):
    return not isinstance(value, str) or str(uuid.UUID(value)) == value


@FORMATS.checks("date-time", raises=ValueError)
def is_date_time(value):
    if isinstance(value, str):
        return datetime.datetime.fromisoformat(value.replace("Z", "+00:00")).tzinfo is not None
    return True


def main(schema, messages):
    with open(schema, encoding="utf-8") as file:
        document = yaml.safe_load(file)
    with open(messages, encoding="utf-8") as file:
        messages = json.load(file)
    components = {"components": {"schemas": document["components"]["schemas"]}}
    wrong = 0
    for message in messages:
        root = {**components, "$ref": "#/components/schemas/" + message["schema"]}
        validator = jsonschema.Draft202012Validator(root, format_checker=FORMATS)
        for error in validator.iter_errors(message["value"]):
            wrong += 1
            print(f"{message['schema']} at {list(error.absolute_path)}: {error.message}")
    print(f"{len(messages)} messages, {wrong} faults")
    return 1 if wrong or not messages else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
