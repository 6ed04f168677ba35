# What programs get and send, told so that two runs can be compared. Usage: allowed.sh BUN
set -eu
bun=$1
work=$(mktemp -d)
cd "$work"
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME="$work" GIT_CONFIG_NOSYSTEM=1
of() { printf '%s: ' "$1"; }
web=http://allowed.example
secure=https://allowed.example

of 'urllib'; /usr/bin/python3 -I -c "import urllib.request; print(urllib.request.urlopen('$web/urllib').read())"

of 'curl'; curl -sS "$web/files/bytes" | sha256sum
of 'curl --http1.0'; curl -sS --http1.0 "$web/http1.0"; echo
of 'curl --http2'; curl -sS --http2 -w ' %{http_version}\n' "$web/http2"
of 'curl --http2, TLS'; curl -sS -k --http2 -w ' %{http_version}\n' "$secure/http2"
of 'curl --http1.1, TLS'; curl -sS -k --http1.1 -w ' %{http_version}\n' "$secure/http1.1"
# The proxy that the environment may name has an address of IPv4.
of 'curl --ipv6'; curl -sS --noproxy '*' --ipv6 "$web/six"; echo
of 'curl, IPv6 alone'; curl -sS http://six.example/six; echo
of 'curl, kept'; curl -sS -w ' %{num_connects}\n' "$web/first" "$web/second"
curl -sS -o sent "$web/files/bytes"
of 'curl -T'; curl -sS -T sent "$web/put"; echo
of 'curl -T -'; curl -sS -T - "$web/put" <sent; echo
of 'curl -X POST'; curl -sS -X POST --data-binary @sent "$web/post"; echo
of 'curl, much'; curl -sS -k --http2 --data-binary @sent "$secure/post"; echo

git clone --quiet "$web/git/tree.git" tree
of 'git'; git -C tree log --format=%s; sha256sum tree/file
git -C tree -c user.name=B -c user.email=b@b.example commit --quiet --allow-empty --message "by $$"
git -C tree push --quiet origin HEAD:refs/heads/pushed
of 'git push'; test "$(git ls-remote "$web/git/tree.git" pushed | cut -f 1)" = "$(git -C tree rev-parse HEAD)" && echo there

/usr/bin/python3 -m venv environment
environment/bin/python -m pip install --quiet --disable-pip-version-check --no-cache-dir \
  --index-url "$web/files/simple/" --trusted-host allowed.example padding
of 'pip'; environment/bin/python -c 'import padding; print(padding.SAYS)'

npm install --silent --no-audit --no-fund --no-update-notifier --registry "$web/files/npm/" padding >/dev/null
of 'npm'; node -e 'console.log(require("padding"))'

rm -rf node_modules package.json package-lock.json
of 'bun, fetch'; "$bun" -e "console.log(await (await fetch('$web/bun')).text())"
of 'bun, fetch over TLS'
"$bun" -e "console.log(await (await fetch('$secure/bun', { tls: { rejectUnauthorized: false } })).text())"
of 'bun, POST'
"$bun" -e "console.log(await (await fetch('$web/post', { method: 'POST', body: Bun.file('sent') })).text())"
echo '{}' >package.json
"$bun" add --silent --no-cache --registry "$web/files/npm/" padding >/dev/null 2>&1
of 'bun add'; "$bun" -e 'console.log(require("padding"))'
rm -rf "$work"
