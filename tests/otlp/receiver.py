#!/usr/bin/env python3
"""A receiver of OTLP logs over HTTP: decodes what comes by the published protocol definition, strictly.

Usage: receiver.py FOLDER

It listens on a free port of loopback and writes the number into FOLDER/port. Each decoded record becomes a line of
FOLDER/records. FOLDER/answers may hold one answer a line, used up in order, before records are taken: a status with its
Retry-After ("503 1"), or "partial N": N records of that request are rejected. A request that is not OTLP is told with 400
and noted in FOLDER/malformed. Needs the package `opentelemetry-proto`.
"""
import json
import pathlib
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

folder = pathlib.Path(sys.argv[1])


def next_answer():
    path = folder / "answers"
    lines = path.read_text().splitlines() if path.exists() else []
    if not lines:
        return None
    path.write_text("".join(line + "\n" for line in lines[1:]))
    return lines[0].split()


def attributes(items):
    return {item.key: item.value.string_value for item in items}


def records(request):
    for resource_logs in request.resource_logs:
        resource = attributes(resource_logs.resource.attributes)
        for scope_logs in resource_logs.scope_logs:
            for record in scope_logs.log_records:
                yield {
                    "resource": resource,
                    "scope": scope_logs.scope.name,
                    "time_unix_nano": record.time_unix_nano,
                    "severity": record.severity_text,
                    "severity_number": record.severity_number,
                    "event": record.event_name,
                    "body": record.body.string_value,
                    "attributes": attributes(record.attributes),
                }


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body=b"", retry_after=None):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if retry_after:
            self.send_header("Retry-After", retry_after)
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != "/v1/logs" or self.headers["Content-Type"] != "application/json":
            return self.answer(404)
        planned = next_answer()
        if planned and planned[0] != "partial":
            return self.answer(int(planned[0]), retry_after=planned[1] if len(planned) > 1 else None)
        try:
            request = json_format.Parse(body, ExportLogsServiceRequest(), ignore_unknown_fields=False)
        except json_format.ParseError as error:
            (folder / "malformed").write_text(str(error))
            return self.answer(400)
        taken = list(records(request))
        response = ExportLogsServiceResponse()
        if planned:
            rejected = int(planned[1])
            response.partial_success.rejected_log_records = rejected
            response.partial_success.error_message = "not these"
            taken = taken[rejected:]
        with open(folder / "records", "a", encoding="utf-8") as out:
            out.writelines(json.dumps(record) + "\n" for record in taken)
        self.answer(200, json_format.MessageToJson(response).encode())

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Receiver)
(folder / "port.new").write_text(str(server.server_port))
(folder / "port.new").rename(folder / "port")
server.serve_forever()
