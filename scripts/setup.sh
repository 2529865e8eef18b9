# Read by the other scripts: where things are, and how they get there. Sets root, venv and python.
# Needs only bash, python3 (3.11 or newer) and a package registry that pip is set up for.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${PIDEX_VENV:-$root/.venv}
python=$venv/bin/python
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PYTHONUNBUFFERED=1
unset PYTHONHOME PYTHONPATH

say() { printf '%s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

# find_python: print the first Python that is new enough ($PYTHON first).
find_python() {
  local candidate
  for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  die "pidex needs Python 3.11 or newer, and none was found. Install one, or name it: PYTHON=/path/to/python3 $0"
}

# have_program NAME: is the program of a Debian package there, whoever installed it?
have_program() {
  case $1 in
    postgresql) command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null ;;
    chromium-driver) command -v chromedriver >/dev/null ;;
    default-jre-headless) command -v java >/dev/null ;;
    nginx) command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] ;;
    openssh-client) command -v ssh >/dev/null ;;
    openssh-server) command -v sshd >/dev/null || [ -x /usr/sbin/sshd ] ;;
    btrfs-progs) command -v mkfs.btrfs >/dev/null || [ -x /usr/sbin/mkfs.btrfs ] ;;
    e2fsprogs) command -v mkfs.ext4 >/dev/null || [ -x /usr/sbin/mkfs.ext4 ] ;;
    libc6-dev) [ -e /usr/include/stdio.h ] ;;
    python3-venv) false ;;
    *) command -v "$1" >/dev/null ;;
  esac
}

# need_debian [--optional] PACKAGE...: the only place that installs system packages. As root apt-get does it; otherwise the
# line to run is printed and the script ends (with --optional it goes on, and what needs the package says that it is skipped).
need_debian() {
  local optional='' package missing=() guard=''
  if [ "$1" = --optional ]; then optional=1; shift; fi
  for package in "$@"; do have_program "$package" || missing+=("$package"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    say "Not installed here: ${missing[*]}. On Debian or Ubuntu: sudo apt-get install --no-install-recommends ${missing[*]}"
    [ -n "$optional" ] && return 0
    exit 1
  fi
  if [ -z "${apt_updated:-}" ]; then
    say "Fetching the list of Debian packages"
    apt-get update -qq >&2 || [ -n "$optional" ] || die "apt-get update failed"
    apt_updated=1
  fi
  # A test run wants the programs, not a database cluster or a web server of the machine's own.
  if [[ " ${missing[*]} " == *" postgresql "* ]]; then
    mkdir -p /etc/postgresql-common/createcluster.d
    echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/pidex.conf
  fi
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    guard=/usr/sbin/policy-rc.d
    printf '#!/bin/sh\nexit 101\n' >"$guard"
    chmod 755 "$guard"
  fi
  say "Installing Debian packages: ${missing[*]}"
  local status=0
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2 || status=$?
  [ -z "$guard" ] || rm -f "$guard"
  for package in nginx openssh-server caddy; do
    [[ $status = 0 && " ${missing[*]} " == *" $package "* ]] || continue
    if [ -d /run/systemd/system ]; then
      systemctl disable --now --quiet "${package/openssh-server/ssh}" >&2 || true
    else
      service "${package/openssh-server/ssh}" stop >/dev/null 2>&1 || true
    fi
  done
  [ "$status" = 0 ] || [ -n "$optional" ] || die "apt-get could not install: ${missing[*]}"
}

# make_venv FOLDER: an environment with pip in it, made anew where its Python is gone.
make_venv() {
  local folder=$1 base
  if [ -x "$folder/bin/python" ] && "$folder/bin/python" -c 'import pip' 2>/dev/null; then return; fi
  if [ -e "$folder" ] && [ ! -e "$folder/pyvenv.cfg" ] && [ -n "$(ls -A "$folder")" ]; then
    die "$folder is there and is not a virtual environment: it is left alone. Move it away, or set PIDEX_VENV."
  fi
  base=$(find_python)
  say "Making $folder with $("$base" --version)"
  if ! "$base" -c 'import ensurepip' 2>/dev/null; then
    if "$base" -m pip --version >/dev/null 2>&1 && "$base" -m venv --clear --without-pip "$folder" \
      && "$base" -m pip --python "$folder/bin/python" install -q pip; then
      return
    fi
    need_debian python3-venv
  fi
  "$base" -m venv --clear "$folder"
}

# fingerprint FILE...: changes when one of the files or the environment's Python does.
fingerprint() {
  { cat "$@"; "$python" -c 'import sys; print(sys.version, sys.prefix)'; } | cksum | tr -s ' \t' '-'
}

# ensure serve|dev: the environment holds exactly what requirements/<kind>.txt pins, and this checkout. Quick when it does.
ensure() {
  local kind=$1 stamp want
  # One set-up at a time, where the system has flock.
  mkdir -p "$(dirname "$venv")"
  if command -v flock >/dev/null; then exec 9>"$venv.lock"; flock 9; fi
  make_venv "$venv"
  for stamp in dev "$kind"; do
    want=$(fingerprint "$root/requirements/$stamp.txt" "$root/pyproject.toml")
    if [ "$(cat "$venv/.pidex-$stamp" 2>/dev/null)" = "$want" ]; then exec 9>&-; return; fi
  done
  say "Installing what requirements/$kind.txt pins into $venv"
  rm -f "$venv"/.pidex-*
  "$python" -m pip install -q --require-hashes -r "$root/requirements/$kind.txt" >&2
  "$python" -m pip install -q --no-deps --no-build-isolation --no-index -e "$root" >&2
  echo "$want" >"$venv/.pidex-$kind"
  exec 9>&-
}

# need_npm NAME VERSION SHA256: a package of npm's, unpacked under .cache/npm; its folder is printed. Nothing of it is run.
need_npm() {
  local folder=$root/.cache/npm/$1-$2 file=$1-$2.tgz
  if [ ! -d "$folder" ]; then
    need_debian npm
    mkdir -p "$root/.cache/npm"
    (cd "$root/.cache/npm" && npm pack --silent "$1@$2" >/dev/null 2>&1) || die "$1 $2 cannot be had from npm"
    echo "$3  $root/.cache/npm/$file" | sha256sum -c --quiet - >&2 || die "$file is not what it was"
    mkdir "$folder.new" && tar -xzf "$root/.cache/npm/$file" -C "$folder.new" && mv "$folder.new" "$folder"
    rm "$root/.cache/npm/$file"
  fi
  echo "$folder/package"
}
