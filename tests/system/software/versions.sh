#!/bin/sh
# A repository is made, cloned, branched, merged, rewritten, packed and checked. Every date is given,
# so that every object has the same name each time.
set -eu
umask 022
export GIT_CONFIG_NOSYSTEM=1 GIT_PAGER=cat GIT_EDITOR=true
export GIT_AUTHOR_NAME=Somebody GIT_AUTHOR_EMAIL=somebody@example.org
export GIT_COMMITTER_NAME=Somebody GIT_COMMITTER_EMAIL=somebody@example.org
export GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000'
# The same packs however many processors there are, also from those who send them.
cat >settings <<'TEXT'
[pack]
	threads = 1
[gc]
	auto = 0
[advice]
	detachedHead = false
TEXT
export GIT_CONFIG_GLOBAL="$PWD/settings"

git init --quiet --initial-branch=main origin
cd origin
mkdir -p lib/deep
for number in 1 2 3 4 5 6 7 8 9 10; do
  echo "line $number" >>text
  echo "module $number" >"lib/deep/$number"
  git add .
  git commit --quiet --message="change $number"
done
printf '#!/bin/sh\necho runs\n' >tool
chmod 755 tool
ln -s lib/deep/1 link
git add --all
git commit --quiet --message='a program and a link'
git tag --annotate --message='the first' v1
cd ..

git clone --quiet origin clone
cd clone
ls -l tool | cut -c 1-10
readlink link
./tool
git switch --quiet --create side
sed -i 's/line 1$/line one/' text
git mv lib/deep/2 lib/two
git rm --quiet lib/deep/3
printf '#!/bin/sh\necho a hook runs\n' >.git/hooks/pre-commit
chmod 755 .git/hooks/pre-commit
git commit --quiet --all --message='on the side' 2>&1
git switch --quiet main
echo 'line 11' >>text
git commit --quiet --all --message='on main' 2>&1
git merge --quiet --no-ff --message='both' side
git switch --quiet --create other main~1
sed -i 's/line 1$/line uno/' text
git commit --quiet --all --message='another one' 2>&1
if git merge --quiet main >/dev/null 2>&1; then exit 1; fi
git status --short
git checkout --quiet --theirs text
git add text
git commit --quiet --message='both again' 2>&1
git switch --quiet --create late main~1
echo 'one more' >more
git add more
git commit --quiet --message='one more' 2>&1
echo 'not yet' >>more
git stash --quiet
git rebase --quiet main
git stash pop --quiet
git status --short
git restore more
git switch --quiet main
git cherry-pick late >/dev/null 2>&1
git worktree add --quiet ../worktree side
git -C ../worktree log --format=%s -1
git gc --quiet --aggressive --prune=now
git repack -a -d -q
git fsck --full --strict
git count-objects -v | grep -v ^size
git log --graph --format='%h %s' --all
git archive HEAD | tar -tvf - | cut -c 1-10,48-
cd ..

# A repository for a group: its folders hand their group on.
git init --quiet --bare --shared=group --initial-branch=main common
git -C clone push --quiet ../common main side
git clone --quiet --no-local --depth=2 "file://$PWD/common" shallow
git -C shallow log --format=%s
git -C shallow fetch --quiet --unshallow
git -C shallow fsck --full
git clone --quiet --mirror common mirror
git -C mirror bundle create --quiet ../all.bundle --all
git clone --quiet all.bundle unbundled
git -C unbundled log --format=%h -3
git -C origin pull --quiet ../clone main
git -C origin fsck --full
