# What programs say of what is denied, each with its exit code and how many seconds it took. Usage: denied.sh BUN
bun=$1
work=$(mktemp -d)
cd "$work" || exit
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME="$work" GIT_CONFIG_NOSYSTEM=1
fails() {
  name=$1 began=$(date +%s)
  shift
  said=$("$@" 2>&1)
  printf '%s\t%s\t%s\t%s\n' "$name" $? "$(($(date +%s) - began))" "$(printf %s "$said" | tr -s '\n\t' '  ')"
}
web=http://denied.example
secure=https://denied.example
fails 'urllib' /usr/bin/python3 -I -c "import urllib.request; urllib.request.urlopen('$web/')"
fails 'curl' curl -sS -f "$web/"
fails 'curl, TLS' curl -sS -f -k "$secure/"
fails 'curl --http1.0' curl -sS -f --http1.0 "$web/"
fails 'curl --ipv6' curl -sS -f --ipv6 "$web/"
fails 'curl, by address' curl -sS -f http://45.80.0.81/
fails 'curl, by address, TLS' curl -sS -f -k https://45.80.0.81/
fails 'curl, for another host' curl -sS -f -H 'Host: denied.example' http://allowed.example/
fails 'git' git clone --quiet "$web/git/tree.git" tree
wheel=$(echo /usr/share/python-wheels/pip-*.whl)
fails 'pip' /usr/bin/python3 "$wheel/pip" download -vv --disable-pip-version-check \
  --no-cache-dir --retries 0 --index-url "$web/files/simple/" --trusted-host denied.example padding
fails 'npm' npm install --no-audit --no-fund --no-update-notifier --fetch-retries 0 --registry "$web/files/npm/" padding
fails 'bun, fetch' "$bun" -e "const got = await fetch('$web/'); if (!got.ok) throw await got.text()"
fails 'bun, fetch over TLS' "$bun" -e "const got = await fetch('$secure/', { tls: { rejectUnauthorized: false } }); if (!got.ok) throw await got.text()"
rm -rf "$work"
