#!/bin/sh
# Runs the server that compile.sh built, handing all arguments on.
#
# A run must leave no dump file behind for the next run to load, so save points are switched off unless the caller
# asks for some: `--save ""` stands before the caller's own options, and of two options the later one wins.
set -e
server=/tmp/codecrafters-build-redis-rust/release/stdis

case "${1-}" in
  '' | --?*) ;;
  -*) # a config on standard input, -v, -h: nothing may stand before it, and what it says about saving is not ours to undo
    exec "$server" "$@" ;;
  *) # a config file must stay the first argument; its own save lines stand
    config=$1
    shift
    if grep -qi '^[[:space:]]*save[[:space:]]' "$config" 2>/dev/null; then
      exec "$server" "$config" "$@"
    fi
    exec "$server" "$config" --save "" "$@" ;;
esac

# These are understood only as the sole argument.
[ $# = 1 ] && case $1 in --version | --help) exec "$server" "$1" ;; esac
exec "$server" --save "" "$@"
