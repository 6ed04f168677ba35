"""Line 51. Plants a file that runs later, outside: hooks, environments, what shells and sessions read."""

HERE, HOME = "@GROUND@/granted", "@GROUND@/home"


def written(path):
    descriptor = syscall("openat", AT_FDCWD, path.encode(), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o755)
    os.write(descriptor, b"#")
    os.close(descriptor)


def define(title, path):
    def raw():
        written(path)

    raw.__name__ = f"raw_{title}"
    attempt(raw)


define("new_hook", f"{HERE}/.git/hooks/pre-commit")
define("hook_that_is_there", f"{HERE}/.git/hooks/post-commit")
define("configuration_of_git", f"{HERE}/.git/config")
define("environment", f"{HERE}/.env")
define("start_of_a_shell", f"{HOME}/.bashrc")
define("start_of_a_session", f"{HOME}/.profile")
define("keys", f"{HOME}/.ssh/authorized_keys")
define("start_of_a_remote_session", f"{HOME}/.ssh/rc")


@attempt
def api_home_is_the_caller_s():
    path = os.path.expanduser("~")
    if path != HOME:
        raise FileNotFoundError(errno.ENOENT, f"home is {path}")
    written(f"{path}/.bashrc")


@attempt
def api_folder_for_sessions():
    os.makedirs(f"{HOME}/.config/autostart")


@attempt
def api_another_repository():
    """The folder of the repository moved away, and one of its own in its place."""
    os.rename(f"{HERE}/.git", f"{HERE}/git-before")
    os.makedirs(f"{HERE}/.git/hooks")
    written(f"{HERE}/.git/hooks/pre-commit")


@attempt
def api_hooks_by_a_link():
    os.rename(f"{HERE}/.git/hooks", f"{HERE}/.git/hooks-before")
    os.symlink(f"{HERE}/other", f"{HERE}/.git/hooks")


@attempt
def raw_environment_replaced():
    other = f"{HERE}/env-{os.getpid()}"
    written(other)
    try:
        syscall("rename", other.encode(), f"{HERE}/.env".encode())
    finally:
        if os.path.exists(other):
            os.unlink(other)


@attempt
def raw_environment_exchanged():
    syscall("renameat2", AT_FDCWD, f"{HERE}/ok".encode(), AT_FDCWD, f"{HERE}/.env".encode(), 2)


@attempt
def raw_hook_by_a_link_of_its_own():
    name = f"{HERE}/to-hooks-{os.getpid()}"
    os.symlink(f"{HERE}/.git/hooks", name)
    written(f"{name}/pre-push")
