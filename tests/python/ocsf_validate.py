"""Validates exported OCSF objects, one a line, against the published schema.

    python ocsf_validate.py EXPORT

Each object is held against the version that it names and against the newest 1.x version here.
"""

import functools
import json
import sys

from jsonschema import Draft202012Validator
from ocsf_json_schema import get_ocsf_schema, OcsfJsonSchemaEmbedded

NEWEST = "1.8.0"


@functools.lru_cache(maxsize=None)
def validator(version, class_uid, profiles):
    schemas = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=version))
    names = {0: "base_event", 4001: "network_activity", 4003: "dns_activity", 2004: "detection_finding"}
    return Draft202012Validator(schemas.get_class_schema(names[class_uid], profiles=list(profiles)))


count = 0
for line in open(sys.argv[1], encoding="utf-8"):
    event = json.loads(line)
    profiles = tuple(event["metadata"].get("profiles", []))
    for version in (event["metadata"]["version"], NEWEST):
        faults = sorted(validator(version, event["class_uid"], profiles).iter_errors(event), key=str)
        assert not faults, f"{version}: {[fault.message for fault in faults]} in {line}"
    count += 1
assert count > 0
print(count, "objects are valid")
