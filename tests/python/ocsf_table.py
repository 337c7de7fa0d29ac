"""The part of the published OCSF schema that our exports are held to, as a compact table.

    python tests/python/ocsf_table.py VERSION > tests/vectors/ocsf/schema.json
    python tests/python/ocsf_table.py --check tests/vectors/ocsf/schema.json

The package ocsf-json-schema carries the published schema; nothing is fetched.
"""

import json
import pathlib
import sys

import ocsf_json_schema

CLASSES = ["base_event", "network_activity", "dns_activity", "detection_finding"]
OBJECTS = [
    "metadata", "product", "network_endpoint", "network_proxy", "network_traffic", "network_connection_info",
    "dns_query", "dns_answer", "tls", "firewall_rule", "finding_info", "analytic", "related_event",
    "remediation", "resource_details", "evidences", "object",
]


def published(version):
    folder = pathlib.Path(ocsf_json_schema.__file__).parent / "ocsf"
    return json.loads((folder / f"{version}.json").read_text())


def row(attribute):
    row = {"type": attribute.get("object_type") or attribute["type"]}
    if attribute["requirement"] == "required":
        row["required"] = True
    if attribute.get("is_array"):
        row["array"] = True
    if attribute.get("profile"):
        row["profile"] = attribute["profile"]
    if attribute.get("enum") and attribute["type"] in ("integer_t", "long_t"):
        row["enum"] = sorted(int(value) for value in attribute["enum"])
    return row


def entry(definition):
    table = {name: row(attribute) for name, attribute in sorted(definition["attributes"].items())}
    result = {"attributes": table}
    if "uid" in definition:
        result["uid"] = definition["uid"]
    constraint = (definition.get("constraints") or {}).get("at_least_one")
    if constraint:
        result["at_least_one"] = sorted(constraint)
    return result


def table(version):
    schema = published(version)
    assert schema["version"] == version
    classes = {**schema["classes"], "base_event": {"uid": 0, **schema["base_event"]}}
    return {
        "version": version,
        "classes": {name: entry(classes[name]) for name in CLASSES},
        "objects": {name: entry(schema["objects"][name]) for name in OBJECTS},
    }


def text(table):
    """One attribute a line, so that a change of version can be read."""
    lines = ["{", f' "version": {json.dumps(table["version"])},']
    for kind in ("classes", "objects"):
        lines.append(f' "{kind}": {{')
        for name, definition in table[kind].items():
            head = {key: value for key, value in definition.items() if key != "attributes"}
            lines.append(f'  "{name}": {{{json.dumps(head)[1:-1]}{", " if head else ""}"attributes": {{')
            rows = [f'   "{a}": {json.dumps(r)}' for a, r in definition["attributes"].items()]
            lines.append(",\n".join(rows))
            lines.append("  }}" + ("," if name != list(table[kind])[-1] else ""))
        lines.append(" }" + ("," if kind == "classes" else ""))
    lines.append("}")
    return "\n".join(lines) + "\n"


if sys.argv[1] == "--check":
    kept = pathlib.Path(sys.argv[2]).read_text()
    assert kept == text(table(json.loads(kept)["version"])), "the table is not the published schema's"
    print("the table is the published schema's")
else:
    sys.stdout.write(text(table(sys.argv[1])))
