#!/bin/sh
# Compiles the server, then runs it with the arguments given here: ./your_program.sh --port 6380
# CodeCrafters itself runs the two scripts in .codecrafters; this one is for trying things by hand.
set -e
here=$(cd "$(dirname "$0")" && pwd)
"$here/.codecrafters/compile.sh"
exec "$here/.codecrafters/run.sh" "$@"
