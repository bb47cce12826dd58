"""Holds a dashboard to Grafana's published schema: reads it with the SDK that is made of that schema, writes it again, and
prints what got lost or changed on the way. Exit status 1 if anything did."""

import json
import sys

import grafana_foundation_sdk.cog.plugins as plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

# Keys of the Prometheus data source's annotations, of which the schema knows only those that all data sources have.
OF_THE_DATA_SOURCE = ("titleFormat", "textFormat")


def faults(written, read, place=""):
    if isinstance(written, dict) and isinstance(read, dict):
        for key, value in written.items():
            if place.startswith("/annotations/") and key in OF_THE_DATA_SOURCE:
                continue
            if key in read:
                yield from faults(value, read[key], f"{place}/{key}")
            else:
                yield f"{place}/{key}: the schema has no such key"
    elif isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        for index, (one, other) in enumerate(zip(written, read)):
            yield from faults(one, other, f"{place}/{index}")
    elif written != read:
        yield f"{place}: {written!r} became {read!r}"


plugins.register_default_plugins()
with open(sys.argv[1]) as file:
    dashboard = json.load(file)
again = json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))
found = list(faults(dashboard, again))
print(*found, sep="\n", end="\n" if found else "")
sys.exit(1 if found else 0)
