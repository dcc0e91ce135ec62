#!/usr/bin/env python3
"""Validates the API's document, and answers of the API against it, strictly.

Usage: validate.py DOCUMENT [ANSWERS]

DOCUMENT must be a valid OpenAPI 3.1 document, every example in it must fit its own schema, and every operation must say
who may call it. ANSWERS is a file of JSON lines, each {"method", "path" (the template), "status", "content_type",
"body"}: the status must be described for the operation, the media type too, and the body must fit the schema, without a
member that the schema does not name. Needs the packages `openapi-spec-validator` and `jsonschema`.

Exit status: 0 all is valid, 1 something is not (each named on standard error), 2 nothing could be checked.
"""
import copy
import json
import sys

try:
    from jsonschema import Draft202012Validator
    from openapi_spec_validator import OpenAPIV31SpecValidator
    from referencing import Registry, Resource
    from referencing.jsonschema import DRAFT202012
except ImportError as error:
    print(f"{error}; install it with: pip install openapi-spec-validator jsonschema", file=sys.stderr)
    sys.exit(2)

METHODS = {"get", "put", "post", "delete", "patch", "head", "options", "trace"}


def closed(document):
    """The document with every object of the components closed: what is not named may not be there."""
    document = copy.deepcopy(document)
    for schema in document["components"]["schemas"].values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return document


class Schemas:
    def __init__(self, document):
        resource = Resource(contents=closed(document), specification=DRAFT202012)
        self.registry = Registry().with_resource("urn:api", resource)

    def errors(self, pointer, value):
        check = Draft202012Validator({"$ref": f"urn:api#{pointer}"}, registry=self.registry)
        for error in check.iter_errors(value):
            place = "/".join(str(part) for part in error.absolute_path) or "(top)"
            yield f"{place}: {error.message[:300]}"


def escaped(part):
    return part.replace("~", "~0").replace("/", "~1")


def operations(document):
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in METHODS:
                yield path, method, operation


def of_document(document, schemas):
    for error in OpenAPIV31SpecValidator(document).iter_errors():
        yield f"{'/'.join(map(str, error.absolute_path))}: {error.message[:300]}"
    for name, schema in document["components"]["schemas"].items():
        pointer = f"/components/schemas/{escaped(name)}"
        for example in [*schema.get("examples", []), *([schema["example"]] if "example" in schema else [])]:
            for error in schemas.errors(pointer, example):
                yield f"the example of {name}: {error}"
    ids = set()
    for path, method, operation in operations(document):
        name = f"{method.upper()} {path}"
        for member in ["operationId", "summary", "tags"]:
            if not operation.get(member):
                yield f"{name} has no {member}"
        if operation.get("operationId") in ids:
            yield f"{name}: its operationId is another's too"
        ids.add(operation.get("operationId"))
        if not operation.get("security", document["security"]) and operation.get("security") != []:
            yield f"{name} does not say who may call it"


def of_answer(document, schemas, answer):
    path, method, status = answer["path"], answer["method"].lower(), str(answer["status"])
    operation = document["paths"][path][method]
    described = operation["responses"].get(status)
    if described is None:
        yield f"{status} is not described"
        return
    pointer = f"/paths/{escaped(path)}/{method}/responses/{status}"
    if "$ref" in described:
        pointer = described["$ref"].removeprefix("#")
        described = document["components"]["responses"][pointer.rsplit("/", 1)[1]]
    contents = described.get("content", {})
    if not contents:
        if answer["body"] is not None:
            yield f"{status} is described without a body"
        return
    if answer["content_type"] not in contents:
        yield f"{answer['content_type']} is not described for {status}"
        return
    yield from schemas.errors(f"{pointer}/content/{escaped(answer['content_type'])}/schema", answer["body"])


def main(arguments):
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    with open(arguments[0], encoding="utf-8") as source:
        document = json.load(source)
    schemas = Schemas(document)
    found = list(of_document(document, schemas))
    answers = 0
    for name in arguments[1:]:
        with open(name, encoding="utf-8") as source:
            for line in source:
                answers += 1
                answer = json.loads(line)
                for error in of_answer(document, schemas, answer):
                    found.append(f"{answer['method']} {answer['path']}: {error}")
    for error in found:
        print(error, file=sys.stderr)
    print(f"{len(list(operations(document)))} operations, {answers} answers, {len(found)} mistakes")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
