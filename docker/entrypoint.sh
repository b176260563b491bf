#!/bin/sh
# Brings the database to this version's schema, then becomes the front: exec, so that signals reach it and not a shell.
# The front drains and ends its hosts; these ignore SIGTERM and SIGINT.
# What is given after the image's name are flags of `adapterctl serve`.
set -eu
adapterctl migrate
exec adapterctl serve "$@"
