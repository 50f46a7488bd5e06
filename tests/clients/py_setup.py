"""What the checks of redis-py share: where the server is, and clients of it.

Checks register themselves with `check`; `py_basic.py` runs them.
"""

import sys
import warnings

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from check import Checks, eventually, Skip

HOST, PORT, SOCKET, PROTOCOL = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
# Programs use commands that the library would have them replace.
warnings.simplefilter("ignore", DeprecationWarning)

check = Checks(f"redis-py {redis.__version__} RESP{PROTOCOL}")


def connect(**options):
    """A client whose replies are text, unless told otherwise."""
    settings = {"host": HOST, "port": PORT, "protocol": PROTOCOL, "legacy_responses": False, "decode_responses": True}
    return redis.Redis(**{**settings, **options})


# By default a broken connection is tried again, with pauses.
ONCE = Retry(ConstantBackoff(0), 0)


def fresh():
    """A client of an empty server."""
    r = connect()
    r.flushall()
    return r


VERSION = tuple(int(part) for part in connect().info("server")["redis_version"].split("."))


def needs(r, command):
    """The check is about a command that not every server has."""
    if r.execute_command("COMMAND INFO", command)[0] is None:
        raise Skip(f"no {command}")


def blocked(r, count=1):
    """Waits until this many clients are blocked."""
    eventually(lambda: r.info("clients")["blocked_clients"] == count, f"{count} blocked clients")
