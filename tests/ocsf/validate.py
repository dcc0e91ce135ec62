#!/usr/bin/env python3
"""Validates events (lines of the audit log, entries as a sink gets them) against the published OCSF schema, strictly.

Usage: validate.py [FILE ...]        (no FILE: standard input)

Each line must be one JSON object that fits the class its class_uid names, in the version its metadata names: no
unknown attribute, every required one, right types and enum members; and type_uid, category_uid and class_uid must
agree. Needs the packages `ocsf-json-schema` (which carries the schema) and `jsonschema`.

Exit status: 0 all lines are valid, 1 some are not (each named on standard error), 2 nothing could be checked.
"""
import json
import sys

try:
    from jsonschema import Draft202012Validator
    from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema
except ImportError as error:
    print(f"{error}; install it with: pip install ocsf-json-schema jsonschema", file=sys.stderr)
    sys.exit(2)

VERSION = "1.8.0"
CLASS_UIDS = (6003, 3004, 3005)


def validators():
    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=VERSION))
    checks = {}
    for uid in CLASS_UIDS:
        class_schema = schema.get_class_schema(schema.lookup_class_name_from_uid(uid))
        Draft202012Validator.check_schema(class_schema)
        # Strictness is the schema's own: were it ever lax, every line would pass and prove nothing.
        if class_schema.get("additionalProperties") is not False:
            print("the schema allows unknown attributes: this check would be void", file=sys.stderr)
            sys.exit(2)
        checks[uid] = Draft202012Validator(class_schema)
    return checks


def no_duplicates(pairs):
    names = [name for name, _ in pairs]
    if len(names) != len(set(names)):
        raise ValueError(f"duplicate member among {names}")
    return dict(pairs)


def problems(checks, line):
    try:
        event = json.loads(line, object_pairs_hook=no_duplicates)
    except ValueError as error:
        yield f"is not JSON: {error}"
        return
    check = checks.get(event.get("class_uid"))
    if check is None:
        yield f"class_uid is none of {CLASS_UIDS}"
        return
    if event.get("category_uid") != event["class_uid"] // 1000:
        yield "category_uid is not that of the class"
    for error in check.iter_errors(event):
        path = "/".join(str(part) for part in error.absolute_path) or "(top)"
        yield f"{path}: {error.message[:300]}"
    if event.get("metadata", {}).get("version") != VERSION:
        yield f"metadata/version is not {VERSION}"
    if event.get("type_uid") != event.get("class_uid", 0) * 100 + event.get("activity_id", 0):
        yield "type_uid is not class_uid * 100 + activity_id"
    if event.get("activity_id") == 99 and not event.get("activity_name"):
        yield "activity_id 99 (Other) needs an activity_name"


def main(files):
    checks = validators()
    lines = bad = 0
    for name in files or ["-"]:
        with (sys.stdin.buffer if name == "-" else open(name, "rb")) as source:
            for number, line in enumerate(source, 1):
                lines += 1
                found = list(problems(checks, line))
                bad += bool(found)
                for problem in found:
                    print(f"{name}:{number}: {problem}", file=sys.stderr)
    if not lines:
        print("no lines to check", file=sys.stderr)
        return 2
    print(f"{lines} lines, {bad} not valid")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
