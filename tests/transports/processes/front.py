"""A front that does nothing but start a host by `fork` or `spawn`, print its process ids, and wait to be killed."""

import os
import sys
import threading

from service.transports.processes.environment import host_environment
from service.transports.processes.fork_server import ForkServer
from service.transports.processes.launch import Launch
from service.transports.processes.spawner import Spawner

environment = host_environment(os.environ)
launcher = ForkServer((), environment) if sys.argv[1] == "fork" else Spawner(environment)
host = launcher.launch(Launch("tests.transports.processes.entries:keep_the_interpreter"))
assert host.socket.recv(1) == b"!"
print(host.pid, flush=True)
threading.Event().wait()
