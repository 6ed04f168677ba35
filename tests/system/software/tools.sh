#!/bin/sh
# The system's own tools: everything that is done to files, by paths, descriptors and links.
set -u
umask 022
exec 2>&1

mkdir -p tree/a/b
echo hi >tree/a/f
ln -s a/f tree/link
ln tree/a/f tree/hard
mkfifo tree/pipe
chmod 1777 tree/a/b
chmod 2755 tree/a
touch -d '1999-01-01 UTC' tree/a/f
touch -h -d '2000-01-01 UTC' tree/link
stat -c '%n %A %h %Y' tree/a/f tree/link
tar -cf tree.tar --sort=name --mtime='2001-01-01 UTC' --owner=0 --group=0 tree
tar -tvf tree.tar
mkdir unpacked
tar -C unpacked -xpf tree.tar
stat -c '%n %A %h %Y' unpacked/tree/a unpacked/tree/a/f unpacked/tree/hard unpacked/tree/link
cp -a tree copy
stat -c '%n %A %h' copy/a copy/a/f copy/hard copy/pipe
mv tree/a tree/c
cat tree/link
rm -r unpacked
find tree copy | sort

dd if=/dev/zero of=big bs=1M count=3 status=none
truncate -s 1M big
fallocate -l 2M big
stat -c %s big
split -b 512K big part.
cat part.* | cmp - big
find . -name 'part.*' -print0 | xargs -0 rm
gzip -kn big
gunzip -t big.gz
cp --sparse=always big sparse
cmp big sparse
printf x | dd of=big bs=1 seek=10 conv=notrunc status=none
stat -c %s big

perl -e '
  open F, ">one" or die; flock F, 2; print F "x"; close F;
  rename "one", "two"; print -s "two", "\n"; utime 5, 6, "two"; print((stat "two")[9], "\n");
  chmod 0600, "two"; mkdir "d"; rmdir "d"; symlink "q", "s"; print readlink("s"), "\n";
  print join(",", sort glob("*")), "\n"; truncate "two", 0; unlink "two", "s"'

# Paths that are another file for each process.
echo data >in
cat /dev/stdin <in
cat /dev/fd/0 <in
cat /proc/self/fd/0 <in
echo piped | cat /dev/stdin
cat /dev/stdin <<TEXT
a text
TEXT
ln -s /proc/self/fd/0 mine
cat mine <in
ln -s /dev/stdin further
cat further <in
sh -c 'echo out >/dev/stdout; echo err >/dev/stderr' 2>&1 | cat
sh -c 'exec 3<>gone; echo hi >&3; rm gone; cat /proc/self/fd/3'
sh -c 'exec 3>opened; echo more >/dev/fd/3'
cat opened
readlink /proc/self/cwd
cat /proc/self/cwd/in
tr '\0' ' ' </proc/self/cmdline
echo
bash -c 'diff <(echo a) <(echo b); cat <<<here; tee >(cat >teed) <in; wait $!'
bash -c 'coproc cat; echo x >&"${COPROC[1]}"; read -r -u "${COPROC[0]}" line; echo "$line"'

# Folders that move or vanish under whoever works in them.
(cd tree/c && mv ../c ../e && touch here && ls ../e && readlink /proc/self/cwd)
mkdir vanishing
(cd vanishing && rmdir ../vanishing && ls && touch x; ls ..)

(echo through >tree/pipe &)
cat tree/pipe
sed -i s/data/DATA/ in
cat in
(flock -n 5 && flock -n locked true || echo locked) 5>locked
mktemp -d -p tmp >/dev/null && rmdir tmp/tmp.*

# What fails.
ln -s loop loop
cat loop
cat in/x
cat nowhere/x
cat in/
mkdir tree
rmdir tree
mv tree tree/e/z
ln tree q
(: >tree)
(: >in/)
(: >tree/)
(: >new/)
(set -C; : >in)
mkdir closed
touch closed/x
chmod 555 closed
rm closed/x
touch closed/y
chmod 0 in
cat in
chmod 600 in
cat "$(printf '%5000s' x | tr ' ' x)" 2>&1 | tail -c 20
cat "$(printf '%300s' x | tr ' ' x)" 2>&1 | tail -c 20
