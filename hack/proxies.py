"""A host of its own for a benchmark of connections: a server, and the proxies that others use.

The host is the network namespace and the mount namespace that its caller is in: a loopback with one more
address, which has a name, and nothing else. The proxies are Debian's tinyproxy and squid, and one of one
process in JavaScript that copies each byte (copying.js, run by Bun from npm). Each permits the one host
by its name, runs in the foreground on files of a temporary folder, and ends with what started it.
"""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import debian

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HACK = os.path.join(TOP, "hack")
PACKAGES = ["tinyproxy-bin", "squid"]
BUN = "1.3.0"
NAME, ADDRESS = "server.example", "192.0.2.80"
# That of a name with both. No way leads there.
ADDRESS_6 = "2001:db8::80"
TINYPROXY, SQUID, COPYING = "tinyproxy", "squid", "copying in Bun"
PORTS = {TINYPROXY: 8888, SQUID: 3128, COPYING: 8081}
# So many connections to one port in so little time leave none to begin the next at, unless those that are
# over may be used again, as they may be on loopback.
PORTS_OF_HOST = {"ip_local_port_range": "10240 65535", "tcp_tw_reuse": "1"}
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)

OF_TINYPROXY = """Port {port}
Listen 127.0.0.1
Timeout 600
MaxClients 2048
LogLevel Critical
Allow 127.0.0.1
Filter "{folder}/permitted"
FilterDefaultDeny Yes
FilterExtended On
"""
OF_SQUID = """http_port 127.0.0.1:{port}
acl permitted dstdomain -n {name}
hosts_file {folder}/hosts
http_access allow permitted
http_access deny all
access_log none
cache_log {folder}/log
cache_store_log none
pid_filename none
cache deny all
cache_mem 0 MB
coredump_dir {folder}
pinger_enable off
netdb_filename none
visible_hostname localhost
max_filedescriptors 16384
shutdown_lifetime 0 seconds
"""


def install():
    """Installs what is missing of them, and gives the path of Bun."""
    # Some packages of Node.js have npm in them, and cannot stand beside Debian's.
    debian.install([*PACKAGES, *([] if shutil.which("npm") else ["npm"])])
    place = os.path.join(TOP, "target", "bun")
    found = os.path.join(place, "node_modules", "@oven", "bun-linux-x64", "bin", "bun")
    asked = subprocess.run([found, "--version"], capture_output=True, text=True) if os.path.exists(found) else None
    if not asked or asked.stdout.strip() != BUN:
        print(f"== installing bun {BUN}", flush=True)
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", place,
                        f"@oven/bun-linux-x64@{BUN}"], check=True)
    return found


def settle(folder):
    """Makes the host, in the namespaces of the caller."""
    for command in (["ip", "link", "set", "lo", "up"],
                    ["ip", "address", "add", ADDRESS + "/32", "dev", "lo"]):
        subprocess.run(command, check=True)
    for name, value in PORTS_OF_HOST.items():
        with open(f"/proc/sys/net/ipv4/{name}", "w") as file:
            file.write(value)
    texts = {"/etc/hosts": f"127.0.0.1 localhost\n{ADDRESS} {NAME}\n{ADDRESS_6} {NAME}\n",
             "/etc/resolv.conf": "nameserver 127.0.0.1\n"}
    for place, text in texts.items():
        file = os.path.join(folder, os.path.basename(place))
        with open(file, "w") as opened:
            opened.write(text)
        subprocess.run(["mount", "--bind", file, os.path.realpath(place)], check=True)


def begin(command, **more):
    """Starts what is to end with this process."""
    return subprocess.Popen(command, stdin=subprocess.DEVNULL,
                            preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL), **more)


def serve(traffic):
    """Starts the server."""
    server = begin([traffic, "serve", ADDRESS], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if server.stdout.readline() != b"ready\n":
        raise SystemExit("the server does not serve")
    return server


def start(folder, bun):
    """Starts the proxies: the process of each by its name."""
    place = tempfile.mkdtemp(prefix="proxies-", dir=folder)
    # Squid gives up what it is root for, and then makes its log.
    shutil.chown(place, "proxy")
    # Squid knows one address of a name that is in such a file.
    written = {"permitted": f"^{NAME.replace('.', '[.]')}$\n", "hosts": f"{ADDRESS} {NAME}\n"}
    for name, text in ((TINYPROXY, OF_TINYPROXY), (SQUID, OF_SQUID)):
        written[name] = text.format(port=PORTS[name], folder=place, name=NAME)
    for name, text in written.items():
        with open(os.path.join(place, name), "w") as file:
            file.write(text)
    commands = {TINYPROXY: ["tinyproxy", "-d", "-c", os.path.join(place, TINYPROXY)],
                SQUID: ["squid", "-N", "-f", os.path.join(place, SQUID)],
                COPYING: [bun, os.path.join(HACK, "copying.js"), str(PORTS[COPYING]), NAME]}
    with open(os.path.join(place, "said"), "wb") as said:
        started = {name: begin(command, cwd=place, stdout=said, stderr=said) for name, command in commands.items()}
    for name, process in started.items():
        wait_for(name, process)
    return started


def wait_for(name, process):
    """Waits until one is heard at its port."""
    end = time.monotonic() + 20
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", PORTS[name])).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.02)
    raise SystemExit(f"{name} does not listen")


def stop(processes):
    """Ends them."""
    for process in processes:
        process.kill()
    for process in processes:
        process.wait(timeout=30)
