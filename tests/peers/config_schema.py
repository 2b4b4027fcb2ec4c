"""Whether configurations are as the schema for editors has them.

config_schema.py SCHEMA FILES: the schema (JSON, draft 7), and a list [{"name": …, "toml": …, "valid": true}, …] (JSON). One with
"as": "profiles" is looked at as such a part of a site. Says which of them the schema takes for what it is not, and ends with 1 then. Needs jsonschema, and a Python of 3.11 or later.
"""

import json
import sys
import tomllib

import jsonschema


def defaults(schema, at=""):
    """All defaults that the schema tells, each with where it stands and what it must be valid by."""
    if isinstance(schema, list):
        for place, inner in enumerate(schema):
            yield from defaults(inner, f"{at}/{place}")
    elif isinstance(schema, dict):
        # A key of the configuration may be called so, too; its schema is a table.
        if "default" in schema and not isinstance(schema["default"], dict):
            yield at, schema["default"], schema
        for key, inner in schema.items():
            yield from defaults(inner, f"{at}/{key}")


def main(schema, files):
    with open(schema, encoding="utf-8") as file:
        schema = json.load(file)
    with open(files, encoding="utf-8") as file:
        files = json.load(file)
    jsonschema.Draft7Validator.check_schema(schema)
    validator = jsonschema.Draft7Validator(schema)
    wrong = 0
    for at, default, of in defaults(schema):
        for error in jsonschema.Draft7Validator({**of, "definitions": schema["definitions"]}).iter_errors(default):
            wrong += 1
            print(f"the default at {at}: {error.message}")
    for file in files:
        text = tomllib.loads(file["toml"])
        if "as" in file:
            site = {"site": {"name": "a", "mode": "observe"}, "circuits": {"pcc": {}}}
            text = {**site, file["as"]: {"it": text}}
        errors = list(validator.iter_errors(text))
        if file["valid"] == (not errors):
            continue
        wrong += 1
        for error in errors:
            print(f"{file['name']} at {list(error.absolute_path)}: {error.message}")
        if not errors:
            print(f"{file['name']} is valid by the schema, and should not be")
    print(f"{len(files)} files, {wrong} faults")
    return 1 if wrong or not files else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
