"""Try a version on a tenth of an alias's requests, then move the alias, or go back where it fails more often.

`python examples/roll_out.py tone prod 2 --url http://127.0.0.1:8000 --wait 600`
"""

import argparse
import time

from service.client import Client

MOST_ERRORS = 0.01
"""The share of requests without an answer, beyond which the new version is taken back."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("alias")
    parser.add_argument("version", type=int)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--wait", type=float, default=600.0, help="seconds that the trial takes")
    asked = parser.parse_args()
    with Client(asked.url) as client:
        before = client.adapters.get(asked.name).aliases[asked.alias]
        client.rollouts.split(asked.name, asked.alias, {before: 0.9, asked.version: 0.1}, reason="a trial")
        time.sleep(asked.wait)
        tried = next(
            version
            for version in client.rollouts.compare(asked.name, asked.alias).versions
            if version.version == asked.version
        )
        failed = tried.errors / max(1, tried.requests)
        to, reason = (asked.version, "the trial passed") if failed <= MOST_ERRORS else (before, f"{failed:.1%} failed")
        client.adapters.promote(asked.name, to, alias=asked.alias, reason=reason)
    print(f"{asked.name}@{asked.alias} is version {to}: {reason} ({tried.requests} requests)")


if __name__ == "__main__":
    main()
