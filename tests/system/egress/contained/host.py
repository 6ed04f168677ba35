"""On the host with a link: makes the networks that engines make, and runs containers in them.

Usage: host.py BUNTIME FOLDER. FOLDER/runs.json is a list of runs, each with a bundle's "config", a "policy" and
a "network": "host" (none in the configuration), "own" (made by the runtime), "pod" (given by its path) or
"hook" (made by the runtime, and given a link by a hook). Beside them there may be "flags" before the verb, the number
of a "user" who calls, "exec", commands that join the container, each with the flags of "joining", and "files", how
many descriptors there may be. Says what each has come to, a JSON list.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
libc = ctypes.CDLL(None)

buntime, folder = sys.argv[1:]
beyond = ["nsenter", f"--net=/proc/{os.environ['BEYOND']}/ns/net"]
runs = json.load(open(f"{folder}/runs.json"))

LINK = f"""#!/bin/sh
set -e
pid=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["pid"])')
ip link add hooked type veth peer name eth0 netns "$pid"
ip address add 10.78.0.1/24 dev hooked
ip link set hooked up
inside="nsenter --net=/proc/$pid/ns/net"
$inside ip address add 10.78.0.2/24 dev eth0
$inside ip link set eth0 up
$inside ip route add default via 10.78.0.1
"""

SERVING = """
import ctypes, http.server
assert ctypes.CDLL(None).unshare(0x40000000) == 0
server = http.server.HTTPServer(("", 8000), http.server.SimpleHTTPRequestHandler)
print("ready", flush=True)
server.serve_forever()
"""


def run(*words):
    subprocess.run(words, check=True)


def routed(network):
    run(*beyond, "ip", "route", "add", network, "via", "45.80.0.1")


def prepare():
    with open("/proc/sys/net/ipv4/ip_forward", "w") as file:
        file.write("1")
    for network in ["10.77.0.0/24", "10.78.0.0/24"]:
        routed(network)
    # Something in the pod serves that is none of its containers.
    serving = subprocess.Popen([sys.executable, "-c", SERVING], stdout=subprocess.PIPE,
                               preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL))
    assert serving.stdout.readline() == b"ready\n"
    pod = f"/proc/{serving.pid}/ns/net"
    inside = ["nsenter", f"--net={pod}", "ip"]
    run("ip", "link", "add", "topod", "type", "veth", "peer", "name", "eth0", "netns", str(serving.pid))
    run("ip", "address", "add", "10.77.0.1/24", "dev", "topod")
    run("ip", "link", "set", "topod", "up")
    run(*inside, "link", "set", "lo", "up")
    run(*inside, "address", "add", "10.77.0.2/24", "dev", "eth0")
    run(*inside, "address", "add", "45.81.0.2/32", "dev", "eth0")
    run(*inside, "link", "set", "eth0", "up")
    run(*inside, "route", "add", "default", "via", "10.77.0.1")
    with open(f"{folder}/link", "w") as file:
        file.write(LINK)
    os.chmod(f"{folder}/link", 0o755)
    return pod


def configured(config, network):
    namespaces = config["linux"]["namespaces"]
    if network == "pod":
        namespaces.append({"type": "network", "path": pod})
    elif network != "host":
        namespaces.append({"type": "network"})
    if network == "hook":
        config["hooks"] = {"createRuntime": [{"path": f"{folder}/link", "env": [f"PATH={os.environ['PATH']}"]}]}
    return config


def contained(number, wanted):
    bundle, name = f"{folder}/bundle-{number}", f"contained-{os.getpid()}-{number}"
    os.makedirs(bundle)
    with open(f"{bundle}/config.json", "w") as file:
        json.dump(configured(wanted["config"], wanted["network"]), file)
    with open(f"{bundle}/policy.json", "w") as file:
        json.dump(wanted["policy"], file)
    flags = ["--root", f"{folder}/state", "--policy", f"{bundle}/policy.json", "--events", f"{bundle}/events.jsonl",
             *wanted.get("flags", [])]
    whoever = []
    if "user" in wanted:
        user = wanted["user"]
        for owned in [bundle, f"{folder}/state"]:
            os.makedirs(owned, exist_ok=True)
            os.chown(owned, user, user)
        whoever = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--inh-caps=-all"]
    call = lambda *verb: subprocess.run([*whoever, buntime, *flags, *verb], capture_output=True, text=True)
    output, errors = open(f"{bundle}/output", "w+"), open(f"{bundle}/errors", "w+")
    few = ["prlimit", f"--nofile={wanted['files']}"] if "files" in wanted else []
    created = subprocess.run([*whoever, *few, buntime, *flags, "create", "--bundle", bundle, name], stdin=subprocess.DEVNULL,
                             stdout=output, stderr=errors)
    said = {}
    if created.returncode != 0:
        assert call("state", name).returncode != 0, "something of it stays"
    else:
        state = json.loads(call("state", name).stdout)
        with open(f"/proc/{state['pid']}/environ") as file:
            said["environ"] = file.read()
        said["enforced"] = state["buntime"]["policy"]["enforced"]
        assert call("start", name).returncode == 0
        if "exec" in wanted:
            said["exec"] = [call("exec", *wanted.get("joining", []), name, *words).stdout for words in wanted["exec"]]
            call("kill", name, "KILL")
        os.waitpid(state["pid"], 0)
        said["kept"] = "".join(open(f"{folder}/state/{name}/{file}").read() for file in ["state.json", "config.json"])
        deleted = call("delete", name)
        assert deleted.returncode == 0, deleted.stderr
        supervisor = state["buntime"]["policy"]["supervisor"]["pid"]
        assert os.waitpid(supervisor, os.WNOHANG)[0] == supervisor, "the supervisor stays"
        said["events"] = [json.loads(line) for line in open(f"{bundle}/events.jsonl")]
    output.seek(0)
    errors.seek(0)
    return {"code": created.returncode, "output": output.read(), "errors": errors.read(), **said}


# What create leaves behind is waited for here, as by an engine.
assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
pod = prepare()
print(json.dumps([contained(number, wanted) for number, wanted in enumerate(runs)]))
