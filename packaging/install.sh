#!/bin/sh
# SPDX-License-Identifier: MIT
#
# `./dev install [PREFIX]`: builds for use, installs, and as root (without DESTDIR) makes the users
# and folders the server needs. Run by ./dev in the checkout; overwrites no configuration.
set -eu

prefix=${1:-/usr/local}
destdir=${DESTDIR:-}
folder=build-install

case $prefix in
/*) ;;
*)
	echo "dev: the prefix must be an absolute path, not '$prefix'" >&2
	exit 64
	;;
esac
case $prefix in
/usr | /usr/local) etc=/etc ;;
*) etc=$prefix/etc ;;
esac

say() {
	printf 'dev: %s\n' "$*"
}

set -- --prefix="$prefix" --sysconfdir="$etc" --buildtype=release -Db_ndebug=false -Dtests=disabled
if [ -f $folder/build.ninja ]; then
	meson configure $folder "$@"
else
	meson setup $folder "$@"
fi
DESTDIR=$destdir meson install -C $folder --quiet
say "programs and manual pages are in $destdir$prefix"

conf=$destdir$etc/restante/restanted.conf
if [ -e "$conf" ]; then
	say "$conf is kept as it is"
else
	mkdir -p "$(dirname "$conf")"
	sed "s|@etc@|$etc|g" packaging/restanted.conf >"$conf"
	say "a sample configuration is in $conf"
fi

if [ -n "$destdir" ] || [ "$(id -u)" != 0 ]; then
	say "no users and folders were made: that needs root and no DESTDIR (see README.md)"
	exit 0
fi

new_user() { # NAME WHAT
	if getent passwd "$1" >/dev/null; then
		return
	fi
	useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin --comment "$2" "$1"
	say "new system user $1: $2"
}

new_folder() { # PATH OWNER MODE
	[ -d "$1" ] || say "new folder $1, owner $2"
	install -d -o "$2" -g "$2" -m "$3" "$1"
}

new_user restante-worker "Restante, network"
new_user restante-auth "Restante, accounts"
new_user restante-mail "Restante, mail"
new_folder /var/lib/restante root 755
new_folder /var/lib/restante/accounts restante-auth 700
new_folder /var/lib/restante/mail restante-mail 700
new_folder /var/lib/restante/empty root 755

cat <<END

Next:
  1. a certificate and its key, where $etc/restante/restanted.conf names them
  2. $prefix/bin/restante user add NAME
  3. $prefix/sbin/restanted -t checks everything; then
     systemctl enable --now restanted, or $prefix/sbin/restanted
END
