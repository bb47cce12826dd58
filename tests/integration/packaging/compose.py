"""Reads a compose file from standard input as the Compose specification has it, and prints it as JSON; fails with the reason where it is
something else."""

import sys

import compose_spec

try:
    print(compose_spec.PyCompose.from_yaml(sys.stdin.read()).to_json())
except ValueError as error:
    sys.exit(str(error))
