"""Scenarios of Podman: what a container's life consists of."""

import json
import os
import subprocess
import time

import enclosure

from .. import inside
from ..command import until
from . import SCENARIOS

expects = SCENARIOS.expects
STAGES = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
READY = "echo ready; while :; do sleep 0.1; done"


@expects("0 hello; 42; 0 5")
def run_and_exit_code(podman):
    said = [podman.run(["echo", "hello"]), podman.run("exit 42"),
            podman.run("--interactive", "wc -c", stdin="12345")]
    return "; ".join(map(str, said))


@expects("127 no such file; 126 permission denied")
def exit_codes_127_and_126(podman):
    return (f"{podman.run(['/does/not/exist']).says('no such file')}; "
            f"{podman.run(['/srv/plain']).says('permission denied')}")


@expects("5 /dev/pts/0\n33 97\nxterm")
def terminal(podman):
    status, text = podman.terminal(*podman.flags([
        "--rm", "--interactive", "--tty", "bb:1", "sh", "-c",
        inside.TERMINAL + "echo $TERM; exit 5"])).finish()
    return f"{status} {text}"


@expects("130 ready\n^C")
def terminal_interrupted(podman):
    session = podman.terminal(*podman.flags([
        "--rm", "--interactive", "--tty", "bb:1", "sh", "-c", "trap 'exit 130' INT; " + READY]))
    status, text = session.expect("ready").type("\x03").finish()
    return f"{status} {text}"


@expects("one\ntwo")
def logs(podman):
    container = podman.start("echo one; echo two >&2; sleep 60")
    return until(lambda: "two" in (done := podman("logs", container)).err and done.out + done.err,
                 "both lines are in the log")


@expects("0 yes of-exec /tmp 0; 0 1000 1000; 0 outside; 3; 127 no such file; 126 permission denied")
def exec(podman):
    container = podman.start("sleep 60")
    said = [podman("exec", "--env", "A=of-exec", "--workdir", "/tmp", container,
                   "sh", "-c", "echo $FROM_IMAGE $A $(pwd) $(id -u)"),
            podman("exec", "--user", "ann", container, "sh", "-c", "echo $(id -u) $(id -g)"),
            podman("exec", "--interactive", container, "cat", stdin="outside"),
            podman("exec", container, "sh", "-c", "exit 3"),
            podman("exec", container, "/does/not/exist").says("no such file"),
            podman("exec", container, "/srv/plain").says("permission denied")]
    return "; ".join(map(str, said))


@expects("9 /dev/pts/0\n33 97")
def exec_on_a_terminal(podman):
    container = podman.start("sleep 60")
    status, text = podman.terminal(
        "exec", "--interactive", "--tty", container, "sh", "-c",
        inside.TERMINAL + "exit 9").finish()
    return f"{status} {text}"


@expects("done")
def exec_detached(podman):
    container = podman.start("sleep 60")
    podman("exec", "--detach", container, "sh", "-c", "echo done > /tmp/mark").whole()
    return until(lambda: podman("exec", container, "cat", "/tmp/mark").out, "the mark is written")


@expects("0 2 things")
def descriptors_preserved(podman):
    read, write = os.pipe()
    os.write(write, b"2 things")
    os.close(write)
    # The first descriptor that is preserved is 3.
    command = podman.command(*podman.flags(["--rm", "--preserve-fds", "1", "bb:1", "cat", "/proc/self/fd/3"]))
    done = subprocess.run(["sh", "-c", f'exec "$@" 3<&{read}', "sh", *command], capture_output=True,
                          text=True, pass_fds=[read], env=podman.environment(), timeout=60)
    os.close(read)
    return f"{done.returncode} {done.stdout}"


@expects("exited 3; exited 137; exited 137; exited 4")
def stop_and_kill(podman):
    said = []

    def ended(container):
        podman("wait", container).whole()
        said.append(podman.inspect(container, "{{.State.Status}} {{.State.ExitCode}}"))
    container = podman.start("trap 'exit 3' TERM; " + READY)
    until(lambda: podman("logs", container).out, "it is ready")
    podman("stop", container).whole()
    ended(container)
    container = podman.start("trap '' TERM; sleep 60")
    podman("stop", "--time", "1", container).whole()
    ended(container)
    container = podman.start("sleep 60")
    podman("kill", container).whole()
    ended(container)
    container = podman.start("trap 'exit 4' USR1; " + READY)
    until(lambda: podman("logs", container).out, "it is ready")
    podman("kill", "--signal", "USR1", container).whole()
    ended(container)
    return "; ".join(said)


@expects("xx running")
def restart(podman):
    container = podman.start("echo -n x >> /tmp/starts; sleep 60")
    until(lambda: podman("exec", container, "cat", "/tmp/starts").out == "x", "it has started")
    podman("restart", "--time", "0", container).whole()
    count = until(lambda: (said := podman("exec", container, "cat", "/tmp/starts").out) == "xx" and said,
                  "it has started again")
    return f"{count} {podman.inspect(container, '{{.State.Status}}')}"


@expects("created; initialized; running")
def steps_of_a_start(podman):
    container = podman("create", "--cgroup-parent", enclosure.group("podman"), "bb:1", "sleep", "60").whole()
    said = [podman.inspect(container, "{{.State.Status}}")]
    podman("init", container).whole()
    said.append(podman.inspect(container, "{{.State.Status}}"))
    podman("start", container).whole()
    said.append(podman.inspect(container, "{{.State.Status}}"))
    return "; ".join(said)


@expects("sleep 61, sleep 62")
def top(podman):
    container = podman.start("sleep 61 & exec sleep 62")
    until(lambda: podman("top", container, "args").out.count("sleep") == 2, "both run")
    return ", ".join(sorted(podman("top", container, "args").whole().splitlines()[1:]))


@expects("2 processes, memory is counted")
def stats(podman):
    container = podman.start("--memory", "64m", "sleep 61 & exec sleep 62")

    def counted():
        said = json.loads(podman("stats", "--no-stream", "--format", "json", container).whole())[0]
        memory = "is counted" if not said["mem_usage"].startswith("0B") else "is not counted"
        return str(said["pids"]) == "2" and f"{said['pids']} processes, memory {memory}"
    return until(counted, "two processes are counted")


@expects("paused; refused; stands; running")
def pause_and_unpause(podman):
    container = podman.start("while :; do echo -n x >> /shared/count; sleep 0.05; done")
    path = f"/proc/{podman.inspect(container, '{{.State.Pid}}')}/root/shared/count"

    def count():
        if not os.path.exists(path):
            return 0
        with open(path) as file:
            return len(file.read())
    until(count, "it counts")
    podman("pause", container).whole()
    status = podman.inspect(container, "{{.State.Status}}")
    refused = "refused" if podman("exec", container, "true").status else "exec works"
    before = count()
    time.sleep(0.5)
    stands = "stands" if before == count() else "does not stand"
    podman("unpause", container).whole()
    until(lambda: count() > before, "it counts again")
    return f"{status}; {refused}; {stands}; {podman.inspect(container, '{{.State.Status}}')}"


@expects("""0
prestart value
createRuntime creating value
createContainer creating value
startContainer created value
program
poststart value
poststop stopped value""")
def hooks(podman):
    folder, log = podman.path("hooks-" + podman.runtime), podman.path("hooks.log")
    os.makedirs(folder, exist_ok=True)
    for stage in STAGES:
        # What state there is when these two run is known differently to each runtime.
        status = "" if stage in ("prestart", "poststart") else \
            """$(grep -o '"status": *"[a-z]*"' | cut -d: -f2 | tr -d '" ') """
        path = "/bin" if stage == "startContainer" else "/usr/bin:/bin"
        with open(os.path.join(folder, stage + ".json"), "w") as file:
            json.dump({"version": "1.0.0", "when": {"always": True}, "stages": [stage],
                       "hook": {"path": "/bin/sh", "env": ["PATH=" + path, "KEY=value"],
                                "args": ["sh", "-c", f'echo "{stage} {status}$KEY" >> {log}']}}, file)
    with open(log, "w"):
        pass
    # The fourth runs in the container, and writes to the log that is bound there.
    done = podman("--hooks-dir", folder, *podman.flags(
        ["--rm", "--volume", f"{log}:{log}", "bb:1", "sh", "-c", f"echo program >> {log}; sleep 1"]))

    def lines():
        with open(log) as file:
            return file.read().splitlines()
    until(lambda: any(line.startswith("poststop") for line in lines()), "the last hook has run")
    found = lines()
    # Nothing says whether the program or the hook after its start is the first to write.
    late = [line for line in found if line.startswith("poststart")]
    found = [line for line in found if line not in late]
    return "\n".join([str(done), *found[:-1], *late, *found[-1:]])


@expects("nothing")
def what_is_left(podman):
    podman.run("true")
    container = podman.start("sleep 60")
    podman("exec", container, "true").whole()
    podman.clear()
    return "\n".join(enclosure.left_behind("podman", podman.left)) or "nothing"
