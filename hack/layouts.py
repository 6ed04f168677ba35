"""Control group layouts, made of what the machine has, for a mount namespace of one's own."""

CONTROL_GROUPS = "/sys/fs/cgroup"
# How each layout is made of what is mounted, or the status 3 where it cannot be.
LAYOUTS = {
    "v1": f"""
        [ ! -e {CONTROL_GROUPS}/cgroup.procs ] || exit 3
        mount -t tmpfs -o mode=755 cgroup /mnt
        for folder in {CONTROL_GROUPS}/*/; do
            [ -e "$folder/tasks" ] || continue
            mkdir "/mnt/$(basename "$folder")"
            mount --bind "$folder" "/mnt/$(basename "$folder")"
        done
        umount -R {CONTROL_GROUPS}
        mount --move /mnt {CONTROL_GROUPS}""",
    "v2": f"""
        [ ! -e {CONTROL_GROUPS}/cgroup.procs ] || exec "$@"
        umount -R {CONTROL_GROUPS}
        mount -t cgroup2 cgroup2 {CONTROL_GROUPS}""",
}
